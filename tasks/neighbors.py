"""Stage neighbors: for each feature row of a dump, the most similar rows of all given dumps."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stego_core.errors import CapacityError, WorkspaceError
from stego_core.listsearch import SPARE
from stego_core.neighbors import NOBODY
from tasks import lists, recall
from tasks.enough import neighbors_problem
from tasks.lists import ListedRows
from tasks.nearest import Base, NeighborsWork
from tasks.options import NeighborsOptions
from tasks.rows import FeatureRows
from tasks.stage import Finish, Stage
from tasks.workspace import arrays, keys
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder

VERSION = 1
SHARD_ROWS = 2048
"""Queries of a shard without lists."""
FEW_SHARDS, MANY_SHARDS, LARGE_SHARD_ROWS, MOST_SHARD_ROWS = 8, 40, 16_384, 262_144
"""Shards by list are larger: each meets every list, and reads all rows. From so few shards on, they
grow to the first size; from so many on, to the second."""
LEAST_ROWS, LEAST_QUERIES = 32_768, 8192
"""Rows to search, and queries, from which on lists save more time than they take."""


def neighbors_key(rows: FeatureRows, options: NeighborsOptions) -> str:
    """Key of the table among these rows."""
    return keys.key("neighbors", VERSION, options, rows.inputs())


def base_of(rows: FeatureRows, dump: str, options: NeighborsOptions) -> Base | None:
    """The finished table to begin a dump's table with: the one among most of these rows.

    Its dumps must come in the same order, because equal similarities are ordered by row. Its key
    tells that it was made from the same features with the same options; of equal ones the first
    key is taken. Tables that are damaged or unfinished are passed over.
    """
    found: list[Base] = []
    for key in rows.workspace.storage.names("neighbors"):
        folder = rows.workspace.folder("neighbors", key, f"{dump}.zarr")
        try:
            dumps = tuple(str(name) for name, _ in folder.manifest()["inputs"]["dumps"])
        except (WorkspaceError, LookupError, TypeError, ValueError):
            continue
        ours = iter(rows.dumps)
        in_order = all(name in ours for name in dumps)  # each is looked for after the one before
        part = replace(rows, dumps=dumps)
        if in_order and dump in dumps != rows.dumps and neighbors_key(part, options) == key:
            found.append(Base(part, folder.path))
    return max(found, key=lambda base: base.rows.total, default=None)


def stages(
    rows: FeatureRows, dump: str, options: NeighborsOptions
) -> Iterator[tuple[Stage | None, Finish]]:
    """A dump's table and what comes before it, each planned once the one before it is finished."""
    _require_images(rows, options.k)
    listed = _listed(rows, dump, options, base_of(rows, dump, options))
    if listed and not table_folder(rows, dump, options).finished:
        yield lists.plan_centroids(listed), lists.finish_centroids
        yield lists.plan_members(listed), Stage.finish
        if options.search == "approximate":
            yield recall.plan(listed, rows, dump), recall.finish
    yield plan(rows, dump, options), Stage.finish


def _listed(
    rows: FeatureRows, dump: str, options: NeighborsOptions, base: Base | None
) -> ListedRows | None:
    """The rows that the base has not seen, by list; None if they or the queries are too few.

    The tables of all dumps among the same rows share their lists.
    """
    seen = base.rows.dumps if base else ()
    part = replace(rows, dumps=tuple(name for name in rows.dumps if name not in seen))
    queries = rows.counts()[rows.dumps.index(dump)]
    if part.total < LEAST_ROWS or queries < LEAST_QUERIES:
        return None
    path = f"neighbors/{neighbors_key(part, options)}/lists"
    return ListedRows(part, path, described=options.search == "exact")


def table_folder(rows: FeatureRows, dump: str, options: NeighborsOptions) -> Folder:
    """Where a dump's table lies."""
    return rows.workspace.folder("neighbors", neighbors_key(rows, options), f"{dump}.zarr")


def plan(
    rows: FeatureRows, dump: str, options: NeighborsOptions, reuse: bool = True
) -> Stage | None:
    """Create a dump's table; None if it is complete.

    The values of an exact table depend neither on `reuse` nor on lists, which serve it where they
    are finished.

    Args:
        rows: of all the dumps to search.
        dump: one of them.
        options: of the table.
        reuse: begin with the table of the same dump among fewer dumps, where there is one.

    Raises:
        CapacityError: there are fewer images than k.
        WorkspaceError: the lists of an approximate table are not finished.
    """
    _require_images(rows, options.k)
    folder = table_folder(rows, dump, options)
    folder.plan({"index": rows.manifest(dump)["index"], "dump": dump})
    if folder.finished:
        return None
    number = rows.dumps.index(dump)
    count, first_row = rows.counts()[number], int(rows.offsets()[number])
    base = base_of(rows, dump, options) if reuse else None
    listed = _listed(rows, dump, options, base)
    search = _search(listed, dump)
    if not search["lists"]:
        listed = None
    size = _create(folder, count, options.k, bool(listed))
    work = NeighborsWork(
        rows, folder.path, first_row, count, options.k, size, base, listed, search.get("probes")
    )
    manifest = {
        "stage": "neighbors",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": rows.inputs(),
        "dump": dump,
        "nobody": NOBODY,
        "base": base.path.split("/")[1] if base else None,
        "compared": rows.total - (base.rows.total if base else 0),
        "search": search,
    }
    # Queries as read and as valid ones; of each k + SPARE candidates, ids and cosines thrice.
    per_query = 8 * listed.channels() + 36 * (options.k + SPARE) if listed else 0
    memory = size * per_query + listed.memory() if listed else 0
    shards = arrays.shard_count(count, size)
    return Stage(folder, f"neighbors {dump}", "crops", count, shards, work, manifest, memory)


def _require_images(rows: FeatureRows, k: int) -> None:
    images = sum(rows.manifest(name)["images"] for name in rows.dumps)
    usable = images - sum(len(rows.manifest(name)["invalid"]) for name in rows.dumps)
    problem = neighbors_problem(usable, int(rows.manifest(rows.dumps[0])["crops"]), k)
    if problem:
        raise CapacityError(problem)


def _search(listed: ListedRows | None, dump: str) -> dict[str, Any]:
    """How a table's rows are found, for its manifest; the recall is that among the listed rows."""
    if listed is None:
        return {"mode": "exact", "lists": None}
    if listed.described:
        return {"mode": "exact", "lists": listed.count() if listed.finished else None}
    found = recall.folder(listed, dump).manifest()
    if found["probes"] is None:
        return {"mode": "exact", "lists": None}
    measured = {name: found[name] for name in ("probes", "recall", "ranks", "sample")}
    return {"mode": "approximate", "lists": listed.count(), **measured}


def listed_shard_rows(queries: int, chunk: int = 1) -> int:
    """Queries of a shard by list, a multiple of those of a chunk."""
    few, many = (-(-queries // (shards * chunk)) * chunk for shards in (FEW_SHARDS, MANY_SHARDS))
    return max(SHARD_ROWS, min(few, LARGE_SHARD_ROWS), min(many, MOST_SHARD_ROWS))


def _create(folder: Folder, count: int, k: int, by_list: bool) -> int:
    """Make a table's arrays; returns the rows of a shard, as they were if it had been begun."""
    size = chunk = SHARD_ROWS
    if by_list:
        chunk = max(SHARD_ROWS // 8, 1)
        size = listed_shard_rows(count, chunk)
    layouts = {
        "ids": Layout((count, k), "int64", size, chunk),
        "similarities": Layout((count, k), "float32", size, chunk),
    }
    arrays.create(folder.storage, folder.path, layouts)
    return arrays.shard_rows(arrays.open_array(folder.storage, folder.path, "ids"))
