"""A table that grows with the dumps has the bytes of one computed at once."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.errors import DamageError, WorkspaceError
from stego_core.search.neighbor_table import NOBODY, Neighbors
from tasks.engine import compute
from tasks.engine.stage import Stage
from tasks.engine.steps import Executor, LoopExecutor
from tasks.features.rows import FeatureRows
from tasks.neighbors import list_recall, listed_rows, neighbor_shard
from tasks.neighbors import stage as neighbors
from tasks.neighbors.listed_rows import ListedRows
from tasks.options import ComputeOptions, NeighborsOptions
from tasks.workspace import arrays, keys
from tasks.workspace.arrays import Layout
from tasks.workspace.workspace import Workspace

FEATURES = "0123456789abcdef"
SHARD, DEPTH = 16, 33
COUNTS = {"train": 20, "a": 9, "b": 11, "c": 5}
OPTIONS = NeighborsOptions(k=4, search="exact")
APPROXIMATE = NeighborsOptions(k=4, search="approximate")
Vectors = NDArray[np.float32]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards and blocks, whose edges are not those of the dumps."""
    monkeypatch.setattr(neighbors, "SHARD_ROWS", 8)
    monkeypatch.setattr(neighbor_shard, "BLOCK_ROWS", 9)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small arrays on a shared machine: threads would wait for each other."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


def store(workspace: Workspace, dump: str, vectors: Vectors, valid: NDArray[np.bool_]) -> None:
    """A finished features stage, of which only the pooled vectors matter here."""
    folder = workspace.folder("features", FEATURES, f"{dump}.zarr")
    count = len(vectors)
    layouts = {
        "pooled": Layout((count, DEPTH), "float32", SHARD, SHARD),
        "valid": Layout((count,), "bool", SHARD, SHARD),
    }
    arrays.create(workspace.storage, folder.path, layouts)
    for shard in range(arrays.shard_count(count, SHARD)):
        part = slice(*arrays.shard_span(shard, SHARD, count))
        arrays.write_shard(workspace.storage, folder.path, "pooled", shard, vectors[part])
        arrays.write_shard(workspace.storage, folder.path, "valid", shard, valid[part])
    folder.finish(
        {"rows": count, "images": count, "crops": 1, "invalid": {}, "index": f"digest of {dump}"}
    )


@lru_cache
def filled(originals: int, invalid: float) -> TemporaryDirectory[str]:
    """A workspace with features of four dumps, made once."""
    folder = TemporaryDirectory()
    workspace = Workspace.create(folder.name)
    rng = np.random.default_rng(0)
    pictures = np.asarray(unit(rng.normal(size=(originals, DEPTH))), np.float32)
    for dump, count in COUNTS.items():
        vectors = pictures[rng.integers(0, originals, count)]
        valid = rng.random(count) >= invalid
        store(workspace, dump, np.where(valid[:, None], vectors, np.float32(0)), valid)
    return folder


def fill(workspace: Workspace, originals: int, invalid: float) -> None:
    """Features of four dumps: few originals make many duplicates, within dumps and across."""
    made = Path(filled(originals, invalid).name) / "features"
    shutil.copytree(made, Path(workspace.storage.uri) / "features")


def among(workspace: Workspace, *dumps: str) -> FeatureRows:
    return FeatureRows(workspace, FEATURES, dumps)


def computed(stage: Stage | None) -> Stage:
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    stage.finish(0.0, stage.shards)
    return stage


def make(rows: FeatureRows, dump: str, options: NeighborsOptions = OPTIONS) -> str:
    """A finished table; returns its key."""
    computed(neighbors.plan(rows, dump, options, "cpu"))
    return neighbors.neighbors_key(rows, options)


def files(stage: Stage) -> dict[str, bytes]:
    """What the table's arrays are on the disk."""
    root = Path(stage.folder.storage.uri) / stage.folder.path
    found = sorted(path for name in ("ids", "similarities") for path in root.glob(f"{name}/c/**/*"))
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}


def again_from_scratch(rows: FeatureRows, dump: str) -> Stage:
    """The exact table computed anew, without any base."""
    folder = rows.workspace.folder("neighbors", neighbors.neighbors_key(rows, OPTIONS))
    shutil.rmtree(Path(rows.workspace.storage.uri) / folder.path)
    stage = computed(neighbors.plan(rows, dump, OPTIONS, "cpu", reuse=False))
    assert stage.folder.manifest()["base"] is None
    return stage


def from_scratch(rows: FeatureRows, dump: str) -> dict[str, bytes]:
    """What its arrays are on the disk."""
    return files(again_from_scratch(rows, dump))


def compared(stage: Stage) -> list[int]:
    """Rows that each shard was compared with."""
    return [record.results["compared"] for record in stage.folder.records(stage.shards)]


class TestMerging:
    @pytest.mark.parametrize(("originals", "invalid"), [(45, 0.0), (3, 0.2)])
    @pytest.mark.parametrize(
        ("before", "after", "dump"),
        [
            (("train", "a"), ("train", "a", "b"), "train"),
            (("train", "a"), ("train", "a", "b"), "a"),
            (("train", "a"), ("b", "train", "a"), "a"),
            (("train", "b"), ("train", "a", "b"), "b"),
            (("a",), ("train", "a", "b", "c"), "a"),
            (("train", "b"), ("c", "train", "a", "b"), "train"),
        ],
    )
    def test_gives_the_bytes_of_the_table_made_at_once(
        self,
        workspace: Workspace,
        originals: int,
        invalid: float,
        before: tuple[str, ...],
        after: tuple[str, ...],
        dump: str,
    ) -> None:
        fill(workspace, originals, invalid)
        base = make(among(workspace, *before), dump)
        rows = among(workspace, *after)
        stage = computed(neighbors.plan(rows, dump, OPTIONS, "cpu"))
        manifest = stage.folder.manifest()
        new = [name for name in after if name not in before]
        assert manifest["base"] == base
        assert manifest["compared"] == sum(COUNTS[name] for name in new)
        usable = sum(int(among(workspace, name).valid().sum()) for name in new)
        assert set(compared(stage)) <= {usable, 0}  # 0: a shard without a valid row
        assert max(compared(stage)) == usable
        assert files(stage) == from_scratch(rows, dump)

    def test_dump_after_dump(self, workspace: Workspace) -> None:
        fill(workspace, originals=5, invalid=0.1)
        keys = [make(among(workspace, *list(COUNTS)[:n]), "train") for n in (1, 2, 3)]
        rows = among(workspace, *COUNTS)
        stage = computed(neighbors.plan(rows, "train", OPTIONS, "cpu"))
        assert stage.folder.manifest()["base"] == keys[-1]
        assert files(stage) == from_scratch(rows, "train")

    def test_fewer_rows_than_k(self, workspace: Workspace) -> None:
        """Images whose crops are invalid leave places empty."""
        few = {"train": [1, 0, 1, 0, 0, 1, 0, 0, 0], "a": [1, 0, 0], "b": [0, 1, 1, 1]}
        rng = np.random.default_rng(0)
        for dump, valid in few.items():
            vectors = np.asarray(unit(rng.normal(size=(len(valid), DEPTH))), np.float32)
            store(workspace, dump, vectors, np.array(valid, np.bool_))
        first, rows = among(workspace, "train"), among(workspace, *few)
        table = computed(neighbors.plan(first, "train", OPTIONS, "cpu")).folder.path
        ids = arrays.read_rows(workspace.storage, table, "ids", slice(None))
        assert sorted(ids[0].tolist()) == [NOBODY, 0, 2, 5]
        assert (ids[[1, 3, 4, 6, 7, 8]] == NOBODY).all()
        stage = computed(neighbors.plan(rows, "train", OPTIONS, "cpu"))
        assert set(compared(stage)) == {4, 0}  # the second shard has no valid row
        assert files(stage) == from_scratch(rows, "train")

    def test_a_shard_compares_with_the_new_rows_only(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(workspace, originals=45, invalid=0.0)
        make(among(workspace, "train", "a"), "a")
        seen: list[int] = []
        add = Neighbors.with_rows

        def noted(
            self: Neighbors, queries: Vectors, block: Vectors, ids: NDArray[np.int64], device: str
        ) -> Neighbors:
            seen.extend(ids.tolist())
            return add(self, queries, block, ids, device)

        monkeypatch.setattr(Neighbors, "with_rows", noted)
        stage = neighbors.plan(among(workspace, "train", "a", "b"), "a", OPTIONS, "cpu")
        assert stage is not None
        stage.work.steps()[0].call(0)
        assert seen == list(range(29, 40))


class TestChoiceOfBase:
    @pytest.fixture
    def rows(self, workspace: Workspace) -> FeatureRows:
        fill(workspace, originals=45, invalid=0.0)
        return among(workspace, "train", "a", "b")

    def chosen(self, rows: FeatureRows, dump: str = "train") -> tuple[str, ...] | None:
        base = neighbors.base_of(rows, dump, OPTIONS)
        return base.rows.dumps if base else None

    def test_none(self, rows: FeatureRows) -> None:
        assert self.chosen(rows) is None
        stage = computed(neighbors.plan(rows, "train", OPTIONS, "cpu"))
        assert (stage.manifest["base"], stage.manifest["compared"]) == (None, 40)

    def test_most_rows(self, rows: FeatureRows) -> None:
        for dumps, best in (
            (("train",), ("train",)),
            (("train", "b"), ("train", "b")),
            (("train", "a"), ("train", "b")),
        ):
            make(replace(rows, dumps=dumps), "train")
            assert self.chosen(rows) == best

    def test_first_key_among_equals(self, workspace: Workspace) -> None:
        rng = np.random.default_rng(0)
        for dump in ("train", "x", "y"):
            vectors = np.asarray(unit(rng.normal(size=(9, DEPTH))), np.float32)
            store(workspace, dump, vectors, np.ones(9, np.bool_))
        rows = among(workspace, "train", "x", "y")
        keys = {
            make(replace(rows, dumps=dumps), "train"): dumps
            for dumps in (("train", "x"), ("train", "y"))
        }
        assert self.chosen(rows) == keys[min(keys)]

    @pytest.mark.parametrize(
        ("dumps", "dump", "options"),
        [
            (("a", "train"), "train", OPTIONS),  # equal similarities are ordered by row
            (("train", "a", "c"), "train", OPTIONS),
            (("train", "a"), "a", OPTIONS),
            (("train", "a"), "train", NeighborsOptions(k=5)),
            (("train", "a", "b"), "train", OPTIONS),  # the table itself
        ],
    )
    def test_not_another_order_dump_or_k(
        self, rows: FeatureRows, dumps: tuple[str, ...], dump: str, options: NeighborsOptions
    ) -> None:
        make(replace(rows, dumps=dumps), dump, options)
        assert self.chosen(rows) is None

    def test_not_of_other_features(self, rows: FeatureRows) -> None:
        make(replace(rows, dumps=("train", "a")), "train")
        root = Path(rows.workspace.storage.uri) / "features"
        shutil.copytree(root / FEATURES, root / FEATURES[::-1])
        assert self.chosen(replace(rows, key=FEATURES[::-1])) is None
        assert self.chosen(rows) == ("train", "a")

    def test_not_of_another_index(self, rows: FeatureRows) -> None:
        key = make(replace(rows, dumps=("train", "a")), "train")
        path = Path(rows.workspace.storage.uri) / f"neighbors/{key}/train.zarr/manifest.json"
        for place in (path, path.parents[2] / ("f" * 16) / "train.zarr" / path.name):
            manifest = json.loads(path.read_text())
            manifest["inputs"]["dumps"][1][1] = "another digest"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(manifest))
        path.unlink()  # what is left says one thing and is named by another
        assert self.chosen(rows) is None

    @pytest.mark.parametrize(
        "content", [None, "{", "[]", "{}", '{"inputs": {"dumps": [["train"]]}}', '{"inputs": 3}']
    )
    def test_damaged_and_unfinished_ones_are_passed_over(
        self, rows: FeatureRows, content: str | None
    ) -> None:
        make(replace(rows, dumps=("train",)), "train")
        key = make(replace(rows, dumps=("train", "a")), "train")
        path = Path(rows.workspace.storage.uri) / f"neighbors/{key}/train.zarr/manifest.json"
        path.unlink()
        if content is not None:
            path.write_text(content)
        assert self.chosen(rows) == ("train",)


def no_metadata(table: Path) -> None:
    (table / "ids" / "zarr.json").unlink()


def no_ids(table: Path) -> None:
    shutil.rmtree(table / "ids" / "c")


def no_similarities(table: Path) -> None:
    shutil.rmtree(table / "similarities" / "c")


def flipped_bit(table: Path) -> None:
    shard = table / "ids" / "c" / "1" / "0"
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)


def gone(table: Path) -> None:
    shutil.rmtree(table)


@pytest.fixture
def by_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists also for a few rows, of several shards, blocks and segments."""
    for module, name, value in (
        (neighbors, "LEAST_ROWS", 10),
        (neighbors, "LEAST_QUERIES", 5),
        (neighbors, "SHARD_ROWS", 16),
        (neighbors, "SHARDS", 4),
        (listed_rows, "SEGMENT_BYTES", 40 * 4 * DEPTH),
        (listed_rows, "BLOCK_ROWS", 25),
        (list_recall, "SAMPLE", 60),
    ):
        monkeypatch.setattr(module, name, value)


def all_stages(
    rows: FeatureRows,
    dump: str,
    options: NeighborsOptions = OPTIONS,
    executor: Executor | None = None,
) -> tuple[dict[str, int], Stage]:
    """Compute a table with what comes before it: shards computed by title, and the table."""
    done: dict[str, int] = {}
    for stage, finish in neighbors.stages(rows, dump, options, "cpu"):
        if stage is not None:
            missing = stage.folder.missing(stage.shards)
            list((executor or LoopExecutor()).map(stage.work.steps(), missing, stage.title))
            finish(stage, 0.0, len(missing))
            done[stage.title] = len(missing)
            last = stage
    return done, last


def values(stage: Stage) -> dict[str, bytes]:
    """What the table holds, however it is cut into files."""
    place = stage.folder.storage, stage.folder.path
    return {
        name: arrays.read_rows(*place, name, slice(None)).tobytes()
        for name in ("ids", "similarities")
    }


def grouped(workspace: Workspace, groups: int = 20, rows: int = 120) -> FeatureRows:
    """Two dumps whose rows fall into groups."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(groups, DEPTH)))
    for dump in ("train", "a"):
        noise = rng.normal(size=(rows, DEPTH)) * 0.4 / np.sqrt(DEPTH)
        vectors = np.asarray(unit(centres[rng.integers(0, groups, rows)] + noise), np.float32)
        valid = rng.random(rows) > 0.05
        store(workspace, dump, np.where(valid[:, None], vectors, np.float32(0)), valid)
    return among(workspace, "train", "a")


@pytest.mark.usefixtures("by_list")
class TestByList:
    def test_tables_of_the_same_rows_share_their_lists(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        done, stage = all_stages(rows, "train", APPROXIMATE)
        assert done == {
            "lists: centroids": 1,
            "lists: segments": 6,
            "recall train": 1,
            "neighbors train": stage.shards,
        }
        assert set(all_stages(rows, "a", APPROXIMATE)[0]) == {"recall a", "neighbors a"}
        assert [stage for stage, _ in neighbors.stages(rows, "a", APPROXIMATE, "cpu")] == [None]

    def test_segments_hold_each_valid_row_once(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        all_stages(rows, "a", APPROXIMATE)
        listed = rows_by_list(rows)
        held, vectors = [], rows.read("pooled", np.arange(rows.total))
        for index, ids in listed.segments(rows):
            stored = index.reconstruct_batch(np.arange(index.ntotal))
            np.testing.assert_array_equal(stored, vectors[ids])
            held += ids.tolist()
        assert held == np.flatnonzero(rows.valid()).tolist()

    def test_lists_hold_what_the_base_lacks(self, workspace: Workspace) -> None:
        fill(workspace, originals=5, invalid=0.1)
        all_stages(among(workspace, "train", "a"), "train", APPROXIMATE)
        rows = among(workspace, *COUNTS)
        done, stage = all_stages(rows, "train", APPROXIMATE)
        assert done["lists: segments"] == 1
        assert stage.folder.manifest()["compared"] == COUNTS["b"] + COUNTS["c"]
        assert set(compared(stage)) == {int(among(workspace, "b", "c").valid().sum())}

    def test_a_base_that_is_gone_takes_the_lists_along(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(workspace, originals=10, invalid=0.1)
        first, rows = among(workspace, "train", "a"), among(workspace, *COUNTS)
        all_stages(first, "train", APPROXIMATE)
        key = neighbors.neighbors_key(first, APPROXIMATE)
        for stage, finish in neighbors.stages(rows, "train", APPROXIMATE, "cpu"):
            assert stage is not None
            if stage.title == "neighbors train":
                gone(Path(workspace.storage.uri) / f"neighbors/{key}/train.zarr")
            list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
            finish(stage, 0.0, stage.shards)
        assert int(rows.valid().sum()) in compared(stage)
        monkeypatch.setattr(neighbors, "LEAST_ROWS", 10**9)
        whole = computed(neighbors.plan(rows, "train", APPROXIMATE, "cpu", reuse=False))
        assert values(stage) == values(whole)

    def test_goes_on_after_a_kill(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        whole, stage = all_stages(rows, "train", APPROXIMATE)
        expected = values(stage)
        root = Path(workspace.storage.uri) / "neighbors"
        root /= neighbors.neighbors_key(rows, APPROXIMATE)
        shutil.rmtree(root / "train.zarr")
        for name in ("manifest.json", "records/000003.json", "003.faiss"):
            (root / "lists/segments" / name).unlink()
        again, stage = all_stages(rows, "train", APPROXIMATE)
        assert again == {"lists: segments": 1, "neighbors train": whole["neighbors train"]}
        assert values(stage) == expected

    def test_a_damaged_segment_is_named(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        all_stages(rows, "train", APPROXIMATE)
        (path,) = (Path(workspace.storage.uri) / "neighbors").glob("*/lists/segments/002.faiss")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(DamageError, match=r"segments/002.faiss is damaged; remove"):
            list(rows_by_list(rows).segments(rows))

    def test_a_table_begun_in_other_shards_keeps_them(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = grouped(workspace)
        with monkeypatch.context() as patch:
            patch.setattr(neighbors, "SHARD_ROWS", 8)
            begun = neighbors.plan(rows, "train", OPTIONS, "cpu")
        assert begun is not None
        assert begun.shards == 4
        begun.work.steps()[0].call(2)
        monkeypatch.setattr(neighbors, "SHARDS", 99)
        done, stage = all_stages(rows, "train")
        assert (done["neighbors train"], stage.shards) == (3, 4)
        assert values(stage) == values(again_from_scratch(rows, "train"))

    def test_few_queries_or_rows_need_no_lists(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(workspace, originals=45, invalid=0.0)
        assert set(all_stages(among(workspace, "a"), "a", APPROXIMATE)[0]) == {"neighbors a"}
        monkeypatch.setattr(neighbors, "LEAST_QUERIES", 10)
        done, stage = all_stages(among(workspace, "train", "a"), "a", APPROXIMATE)
        assert set(done) == {"neighbors a"}
        assert stage.folder.manifest()["search"] == {"mode": "exact", "lists": None}

    def test_an_exact_table_never_needs_them(self, workspace: Workspace) -> None:
        assert set(all_stages(grouped(workspace), "a")[0]) == {"neighbors a"}

    def test_a_dump_without_valid_rows_has_no_neighbours(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        nothing = np.zeros((50, DEPTH), np.float32)
        store(workspace, "broken", nothing, np.zeros(50, np.bool_))
        rows = replace(rows, dumps=(*rows.dumps, "broken"))
        done, stage = all_stages(rows, "broken", APPROXIMATE)
        assert "recall broken" in done
        assert set(compared(stage)) == {0}
        assert values(stage)["ids"] == np.full((50, 4), NOBODY, np.int64).tobytes()

    def test_only_the_exact_search_asks_for_a_gpu(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        asked = {
            options.search: [step.gpu for step in all_stages(rows, "a", options)[1].work.steps()]
            for options in (OPTIONS, APPROXIMATE)
        }
        assert asked == {"exact": [True], "approximate": [False]}


def rows_by_list(rows: FeatureRows) -> ListedRows:
    return ListedRows.create(rows, f"neighbors/{neighbors.neighbors_key(rows, APPROXIMATE)}/lists")


@pytest.mark.usefixtures("by_list")
class TestApproximate:
    options = NeighborsOptions(k=9, search="approximate")

    def table(self, stage: Stage) -> Neighbors:
        place = stage.folder.storage, stage.folder.path
        return Neighbors(
            *(arrays.read_rows(*place, n, slice(None)) for n in ("ids", "similarities"))
        )

    def test_recall_is_measured_and_reached(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        done, stage = all_stages(rows, "a", self.options)
        assert done["recall a"] == 1
        search = stage.folder.manifest()["search"]
        assert search["mode"] == "approximate"
        assert (search["ranks"], search["sample"]) == (7, 60)
        assert search["probes"] < search["lists"] / 4
        assert 0.985 <= search["recall"] <= 1
        exact = self.table(all_stages(rows, "a", NeighborsOptions(k=9, search="exact"))[1])
        found, valid = self.table(stage), rows.valid()[120:]
        pairs = zip(found.ids[valid, 1:8], exact.ids[valid, 1:8], strict=True)
        hits = [len(np.intersect1d(one, other)) for one, other in pairs]
        assert np.mean(hits) / 7 >= 0.97

    def test_rows_come_first_and_the_others_in_order(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        table = self.table(all_stages(rows, "a", self.options)[1])
        own, vectors = 120 + np.arange(120), rows.read("pooled", np.arange(240))
        valid = rows.valid()[120:]
        assert (table.ids[~valid] == NOBODY).all()
        assert (table.ids[valid, 0] == own[valid]).all()
        assert (np.diff(table.similarities[valid, 1:], axis=1) <= 0).all()
        assert all(len(set(ids)) == 9 for ids in table.ids[valid].tolist())
        cosines = np.einsum("qc,qkc->qk", vectors[own[valid]], vectors[table.ids[valid]])
        np.testing.assert_allclose(table.similarities[valid], cosines, atol=1e-6)

    def test_without_groups_it_is_exact(
        self, workspace: Workspace, caplog: pytest.LogCaptureFixture
    ) -> None:
        rng = np.random.default_rng(0)
        vectors = np.asarray(unit(rng.normal(size=(300, DEPTH))), np.float32)
        store(workspace, "train", vectors, np.ones(300, np.bool_))
        rows = among(workspace, "train")
        with caplog.at_level(logging.WARNING):
            _, stage = all_stages(rows, "train", self.options)
        assert "searching exactly" in caplog.text
        assert stage.folder.manifest()["search"] == {"mode": "exact", "lists": None}
        exact = self.table(all_stages(rows, "train", NeighborsOptions(k=9, search="exact"))[1])
        assert self.table(stage).ids.tolist() == exact.ids.tolist()

    def test_lists_must_be_there(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        with pytest.raises(WorkspaceError, match="stego neighbors"):
            neighbors.plan(rows, "a", self.options, "cpu")

    def test_begins_with_a_base_of_its_own_kind(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        make(among(workspace, "train"), "train", NeighborsOptions(k=9, search="exact"))
        assert neighbors.base_of(rows, "train", self.options) is None
        all_stages(among(workspace, "train"), "train", self.options)
        _, stage = all_stages(rows, "train", self.options)
        assert stage.folder.manifest()["compared"] == 120
        table, valid = self.table(stage), rows.valid()[:120]
        assert (table.ids[valid, 0] == np.flatnonzero(valid)).all()
        assert (table.ids[valid] >= 120).any()
        assert (table.ids[valid, 1:] < 120).any()

    def test_both_kinds_of_table_have_a_key_of_their_own(self, workspace: Workspace) -> None:
        rows = grouped(workspace)
        exact = neighbors.neighbors_key(rows, NeighborsOptions(k=9, search="exact"))
        assert exact != neighbors.neighbors_key(rows, self.options)

    def test_only_keys_of_tables_that_lists_may_serve_have_changed(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = grouped(workspace)

        exact = NeighborsOptions(k=9, search="exact")
        old_key = keys.key("neighbors", 1, exact, rows.inputs())
        assert neighbors.neighbors_key(rows, exact) == old_key
        assert neighbors.neighbors_key(rows, self.options) != old_key
        monkeypatch.setattr(neighbors, "LEAST_ROWS", 241)
        assert neighbors.neighbors_key(rows, self.options) == old_key


@pytest.mark.long
@pytest.mark.usefixtures("by_list")
@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_executors_agree(workspace: Workspace, tmp_path: Path, search: Any) -> None:
    rows, options = grouped(workspace), NeighborsOptions(k=5, search=search)
    _, here = all_stages(rows, "a", options)
    other = replace(rows, workspace=Workspace.create(str(tmp_path / "other")))
    shutil.copytree(tmp_path / "ws/features", tmp_path / "other/features")
    with compute.executor(ComputeOptions(executor="dask", workers=2)) as dask:
        done, there = all_stages(other, "a", options, dask)
    assert len(done) == (4 if search == "approximate" else 1)
    assert values(here) == values(there)
    assert here.folder.manifest()["search"] == there.folder.manifest()["search"]


@pytest.mark.parametrize("harm", [no_metadata, no_ids, no_similarities, flipped_bit, gone])
def test_a_base_that_cannot_be_read_is_as_good_as_none(
    workspace: Workspace, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    fill(workspace, originals=10, invalid=0.1)
    key = make(among(workspace, "train", "a"), "train")
    rows = among(workspace, "train", "a", "b")
    stage = neighbors.plan(rows, "train", OPTIONS, "cpu")
    harm(Path(workspace.storage.uri) / f"neighbors/{key}/train.zarr")
    with caplog.at_level(logging.WARNING):
        computed(stage)
    assert stage is not None
    assert f"base=neighbors/{key}/train.zarr" in caplog.text
    assert int(rows.valid().sum()) in compared(stage)
    assert files(stage) == from_scratch(rows, "train")


def test_names_in_the_same_order() -> None:
    assert neighbors.is_subsequence((), "abc")
    assert neighbors.is_subsequence("ac", "abc")
    assert neighbors.is_subsequence("abc", "abc")
    for other in ("ca", "ad", "d", "abcd"):
        assert not neighbors.is_subsequence(other, "abc")


def test_shards_are_larger_where_there_are_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "SHARD_ROWS", 2048)
    assert {neighbors.shard_size(count) for count in (1, 2048, 65_536)} == {2048}
    assert neighbors.shard_size(100_000) == 4096
    assert neighbors.shard_size(10**7) == 131_072


class TestRows:
    def test_no_rows_can_be_read(self, workspace: Workspace) -> None:
        fill(workspace, originals=45, invalid=0.0)
        read = among(workspace, "train", "a").read("pooled", np.arange(0))
        assert (read.shape, read.dtype) == ((0, DEPTH), np.float32)

    def test_renumbering_follows_the_dumps(self, workspace: Workspace) -> None:
        fill(workspace, originals=45, invalid=0.0)
        here, there = among(workspace, "c", "train", "a", "b"), among(workspace, "train", "b")
        rows = np.array([[0, 19, NOBODY], [20, 30, 0]])
        assert here.renumbered(rows, there).tolist() == [[5, 24, NOBODY], [34, 44, 5]]

    def test_renumbered_rows_hold_the_same(self, workspace: Workspace) -> None:
        fill(workspace, originals=45, invalid=0.0)
        here, there = among(workspace, *COUNTS), among(workspace, "b", "train")
        rows = np.arange(there.total)
        moved = here.read("pooled", here.renumbered(rows, there))
        np.testing.assert_array_equal(moved, there.read("pooled", rows))

    def test_spans(self, workspace: Workspace) -> None:
        fill(workspace, originals=45, invalid=0.0)
        rows = among(workspace, *COUNTS)
        assert np.concatenate(rows.row_blocks(6)).tolist() == list(range(45))
        some = rows.row_blocks(6, ("b", "train"))
        assert [len(span) for span in some] == [6, 6, 6, 6, 6, 1]
        assert np.concatenate(some).tolist() == [*range(20), *range(29, 40)]
        assert rows.row_blocks(6, ()) == []
