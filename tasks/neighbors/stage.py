"""Stage neighbors: for each feature row of a dump, the most similar rows of all given dumps."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from stego_core.errors import CapacityError, WorkspaceError
from stego_core.search.neighbor_table import NOBODY
from tasks.engine.stage import Finish, Stage
from tasks.features.enough_images import neighbors_problem
from tasks.features.rows import FeatureRows
from tasks.neighbors import list_recall, listed_rows, neighbor_shard
from tasks.neighbors.listed_rows import ListedRows
from tasks.neighbors.neighbor_shard import Base, NeighborsWork
from tasks.options import NeighborsOptions
from tasks.workspace import arrays, keys, layout
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder

VERSION = 1
"""Of exact tables."""
LISTS_VERSION = 2
"""Of tables that inverted lists may serve."""
SHARD_ROWS = 2048
"""Queries of a shard, and of a chunk of larger shards."""
SHARDS = 32
"""Shards of a large table: more would cost time, since each reads all rows."""
MOST_SHARD_ROWS = 131_072
"""Queries of a shard at most; bounds memory."""
LEAST_ROWS = 32_768
"""Fewer rows are searched faster without lists."""
LEAST_QUERIES = 8192
"""Fewer queries are searched faster without lists."""


def neighbors_key(rows: FeatureRows, options: NeighborsOptions) -> str:
    """Key of the table among these rows; without lists it is an exact one."""
    if options.search == "approximate" and rows.total >= LEAST_ROWS:
        return keys.key("neighbors", LISTS_VERSION, options, rows.inputs())
    exact = options.model_copy(update={"search": "exact"})
    return keys.key("neighbors", VERSION, exact, rows.inputs())


def is_subsequence(short: Sequence[str], long: Sequence[str]) -> bool:
    """Whether the second has all names of the first, once each and in the same order."""
    return list(short) == [name for name in long if name in short]


def base_of(rows: FeatureRows, dump: str, options: NeighborsOptions) -> Base | None:
    """The finished table to begin a dump's table with: the one among most of these rows.

    Its dumps must come in the same order, because equal similarities are ordered by row. Its key
    tells that it was made from the same features with the same options; of equal ones the first
    key is taken. Tables that are damaged or unfinished are not used.
    """
    bases: list[Base] = []
    for key in _keys_of_tables(rows, dump):
        folder = rows.workspace.folder(layout.neighbors(key, dump))
        try:
            dumps = tuple(str(name) for name, _ in folder.manifest()["inputs"]["dumps"])
        except (WorkspaceError, LookupError, TypeError, ValueError):
            continue
        if dumps == rows.dumps or dump not in dumps or not is_subsequence(dumps, rows.dumps):
            continue
        part = replace(rows, dumps=dumps)
        if neighbors_key(part, options) == key:
            bases.append(Base(part, folder.path))
    return max(bases, key=lambda base: base.rows.total, default=None)


def _keys_of_tables(rows: FeatureRows, dump: str) -> list[str]:
    """Keys of all tables of a dump; of those of an earlier version the current one only.

    A workspace has a key for every backfilled dump: looking into each would take as many requests.
    """
    current = (rows.workspace.last_run_or_none() or {}).get("neighbors", {}).get(dump)
    return sorted({*rows.storage.names(layout.neighbor_tables(dump)), *([current] * bool(current))})


def stages(
    rows: FeatureRows, dump: str, options: NeighborsOptions, device: str
) -> Iterator[tuple[Stage | None, Finish]]:
    """A dump's table and what comes before it, each planned once the one before it is finished."""
    _require_images(rows, options.k)
    listed = _listed(rows, dump, options, base_of(rows, dump, options))
    if listed and not table_folder(rows, dump, options).finished:
        yield listed_rows.plan_centroids(listed), Stage.finish_single
        yield listed_rows.plan_segments(listed), listed_rows.finish_segments
        yield list_recall.plan(listed, rows, dump), list_recall.finish
    yield plan(rows, dump, options, device), Stage.finish


def _listed(
    rows: FeatureRows, dump: str, options: NeighborsOptions, base: Base | None
) -> ListedRows | None:
    """The rows that the base has not seen, by list; None where the search is exact.

    It is exact where these rows or the queries are few. The tables of all dumps among the same rows
    share their lists.
    """
    if options.search == "exact":
        return None
    seen = base.rows.dumps if base else ()
    unseen = replace(rows, dumps=tuple(name for name in rows.dumps if name not in seen))
    if int(unseen.valid().sum()) < LEAST_ROWS or _queries(rows, dump) < LEAST_QUERIES:
        return None
    return ListedRows.create(unseen, layout.neighbor_lists(neighbors_key(unseen, options)))


def _queries(rows: FeatureRows, dump: str) -> int:
    return rows.counts()[rows.dumps.index(dump)]


def table_folder(rows: FeatureRows, dump: str, options: NeighborsOptions) -> Folder:
    """Where a dump's table lies."""
    return rows.workspace.folder(layout.neighbors(neighbors_key(rows, options), dump))


def plan(
    rows: FeatureRows, dump: str, options: NeighborsOptions, device: str, reuse: bool = True
) -> Stage | None:
    """Create a dump's table; None if it is complete.

    The values of an exact table depend neither on `device` nor on `reuse`.

    Args:
        rows: of all the dumps to search, of which `dump` is one.
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
    rows.storage.write(f"{layout.neighbor_tables(dump)}/{neighbors_key(rows, options)}", b"")
    count, first_row = _queries(rows, dump), rows.first_row(dump)
    base = base_of(rows, dump, options) if reuse else None
    listed = _listed(rows, dump, options, base)
    search = _search(listed, dump)
    probes = search.get("probes", 0)
    if not probes:
        listed = None
    k, size = options.k, _create(folder, count, options.k)
    work = NeighborsWork(rows, folder.path, first_row, count, k, size, device, base, listed, probes)
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
    shards = arrays.shard_count(count, size)
    memory = neighbor_shard.search_memory(rows.channels(), size, k, 0 if listed else rows.total)
    memory += listed.memory(3) if listed else 0  # one segment, and the next as bytes and decoded
    return Stage(folder, f"neighbors {dump}", "crops", count, shards, work, manifest, memory)


def _require_images(rows: FeatureRows, k: int) -> None:
    images = sum(rows.manifest(name)["images"] for name in rows.dumps)
    usable = images - sum(len(rows.manifest(name)["invalid"]) for name in rows.dumps)
    if problem := neighbors_problem(usable, rows.crops(), k):
        raise CapacityError(problem)


def _search(listed: ListedRows | None, dump: str) -> dict[str, Any]:
    """How a table is searched, for its manifest; the recall is that among the listed rows."""
    measured = list_recall.recall_folder(listed, dump).manifest() if listed else {"probes": None}
    if listed is None or measured["probes"] is None:
        return {"mode": "exact", "lists": None}
    count = listed.folder("centroids").manifest()["lists"]
    figures = {name: measured[name] for name in ("probes", "recall", "ranks", "sample")}
    return {"mode": "approximate", "lists": count, **figures}


def shard_size(queries: int) -> int:
    """Queries of a shard, a multiple of those of a chunk."""
    size = -(-queries // (SHARDS * SHARD_ROWS)) * SHARD_ROWS
    return min(max(size, SHARD_ROWS), MOST_SHARD_ROWS)


def _create(folder: Folder, count: int, k: int) -> int:
    """Make a table's arrays; returns the rows of a shard, as they were if it had been begun."""
    size = shard_size(count)
    layouts = {
        "ids": Layout((count, k), "int64", size, SHARD_ROWS),
        "similarities": Layout((count, k), "float32", size, SHARD_ROWS),
    }
    arrays.create(folder.storage, folder.path, layouts)
    return arrays.shard_rows(arrays.open_array(folder.storage, folder.path, "ids"))
