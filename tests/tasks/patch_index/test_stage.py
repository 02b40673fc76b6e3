"""The index of patches: what it finds, how it grows and goes on, on a disk and in a bucket."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from explored_workspace import compute
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.errors import DamageError, WorkspaceError
from stego_core.search import patch_index
from tasks.patch_index import patch_rows, patch_search, probe_recall
from tasks.patch_index import stage as patches
from tasks.patch_index.patch_rows import PatchRows
from tasks.patch_index.patch_search import PatchHit
from tasks.storage import run_cache
from tasks.workspace import arrays, layout
from tasks.workspace.arrays import Layout
from tasks.workspace.workspace import Workspace

FEATURES, GRID, DEPTH, SHARD = "f" * 16, 3, 32, 4
COUNTS = {"first": 10, "later": 5}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing is remembered of another test's workspace; small arrays need no threads."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    with run_cache.during(f"test {np.random.default_rng().integers(2**60)}"):
        yield
    faiss.omp_set_num_threads(threads)


def store(workspace: Workspace, dump: str, crops: int, invalid: tuple[int, ...] = ()) -> None:
    """A finished features stage of a few clustered patches, and the index it belongs to."""
    count = COUNTS[dump]
    rng = np.random.default_rng(len(dump))
    centres = np.random.default_rng(0).normal(size=(20, DEPTH))
    shape = (count * crops, GRID, GRID)
    values = centres[rng.integers(0, 20, shape)] + 0.4 * rng.normal(size=(*shape, DEPTH))
    valid = np.ones(count * crops, np.bool_)
    for image in invalid:
        values[image * crops : (image + 1) * crops] = 0
        valid[image * crops : (image + 1) * crops] = False
    folder = workspace.folder("features", FEATURES, f"{dump}.zarr")
    layouts = {
        "patches": Layout((*shape, DEPTH), "float16", SHARD * crops),
        "valid": Layout((count * crops,), "bool", SHARD * crops, SHARD * crops),
    }
    arrays.create(workspace.storage, folder.path, layouts)
    for name, data in (("patches", values.astype(np.float16)), ("valid", valid)):
        for shard in range(arrays.shard_count(count, SHARD)):
            part = slice(*arrays.shard_span(shard, layouts[name].shard_rows, len(data)))
            arrays.write_shard(workspace.storage, folder.path, name, shard, data[part])
    made = {"rows": count * crops, "images": count, "crops": crops, "index": f"digest of {dump}"}
    folder.finish(made)
    workspace.corpus(dump).finish({"sequence": list(COUNTS).index(dump), "images": count})


def filled(location: str, crops: int = 5, dumps: tuple[str, ...] = ("first", "later")) -> Workspace:
    workspace = Workspace.create(location)
    for dump in dumps:
        store(workspace, dump, crops, invalid=(3,) if dump == "first" else ())
    workspace.update_last_run(keys={"features": FEATURES}, dumps=["first"])
    return workspace


def build(workspace: Workspace) -> list[str]:
    """Make what is missing; returns the titles of what was."""
    done = []
    for stage, finish in patches.stages(workspace):
        if stage is not None:
            done.append(stage.title)
            compute(stage, finish)
    return done


def brute(rows: PatchRows, query: NDArray[np.float32], without: int | None) -> list[PatchHit]:
    """The best patch of every image, by a loop over all stored patches."""
    best: dict[tuple[str, int], PatchHit] = {}
    for row in range(rows.rows.total):
        number, place, crop = rows.rows.location(row)
        first = int(rows.rows.offsets()[number]) // rows.crops()
        if crop >= rows.tiles() or first + place == without:
            continue
        if not rows.rows.read("valid", np.array([row]))[0]:
            continue
        features = rows.rows.read("patches", np.array([row]))[0].reshape(-1, DEPTH)
        for token, patch in enumerate(features.astype(np.float64)):
            cosine = float(patch @ query / np.linalg.norm(patch))
            found = PatchHit(rows.rows.dumps[number], place, crop, token, cosine)
            kept = best.setdefault(found[:2], found)
            if cosine > kept.similarity:
                best[found[:2]] = found
    return sorted(best.values(), key=lambda found: -found.similarity)


def queries(count: int = 8) -> NDArray[np.float32]:
    return np.asarray(unit(np.random.default_rng(5).normal(size=(count, DEPTH))), np.float32)


@pytest.mark.parametrize("crops", [1, 5])
def test_a_small_corpus_is_searched_as_by_a_loop(tmp_path: Path, crops: int) -> None:
    """Both dumps, one patch per image, the query's own image and unreadable ones left out."""
    workspace = filled(str(tmp_path / "ws"), crops)
    assert build(workspace) == [
        "patches: codebook",
        "patches first",
        "patches later",
        "patches: recall",
    ]
    search = patch_search.search(workspace)
    assert search.patches.rows.dumps == ("first", "later")
    for query, without in zip(queries(4), (None, 0, 9, 14), strict=True):
        found = search.find(query, 100, without)
        expected = brute(search.patches, query, without)
        assert [each[:4] for each in found] == [each[:4] for each in expected]
        assert len(found) == 14 - (without is not None)
        cosines = [each.similarity for each in expected]
        np.testing.assert_allclose([each.similarity for each in found], cosines, atol=1e-5)
        assert search.find(query, 4, without) == found[:4]


def test_its_manifest_tells_the_recall(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    rows = PatchRows.trained(workspace)
    manifest = rows.of_dumps(("first", "later")).recall_folder().manifest()
    assert manifest["recall"] == 1.0
    assert manifest["probes"] == rows.codebook_folder().manifest()["lists"]
    assert manifest["sample"] == 36  # the quarters of nine readable images
    codes = rows.codes_folder("later").manifest()
    assert codes["patches"] == 5 * 4 * GRID * GRID


def test_the_sample_seeks_what_a_loop_finds(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    trained = PatchRows.trained(workspace)
    tensors = trained.codebook_tensors()
    own = tensors["images"] + COUNTS["later"]
    both = trained.of_dumps(("later", "first"))
    for query, image, found in list(
        zip(tensors["queries"], own.tolist(), probe_recall.best_rows(both, own), strict=True)
    )[::9]:
        expected = brute(both, query, image)
        first = {"later": 0, "first": 5 * COUNTS["later"]}
        places = [first[each.dump] + each.image * 5 + each.crop for each in expected]
        assert found.tolist() == places


def test_a_lost_part_is_made_again_with_the_same_bytes(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    assert build(workspace) == []
    folder = PatchRows.trained(workspace).codes_folder("first")
    root = tmp_path / "ws" / folder.path
    lost = [root / "codes" / "c" / "1" / "0", root / "lists" / "c" / "1"]
    before = [path.read_bytes() for path in lost]
    for path in [*lost, root / "records" / "000001.json", root / "manifest.json"]:
        path.unlink()
    untouched = (root / "codes" / "c" / "0" / "0").stat().st_mtime_ns
    assert build(workspace) == ["patches first"]
    assert [path.read_bytes() for path in lost] == before
    assert (root / "codes" / "c" / "0" / "0").stat().st_mtime_ns == untouched


def test_a_later_dump_leaves_the_codebook_as_it_is(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"), dumps=("first",))
    build(workspace)
    assert patch_rows.searchable(workspace) == ["first"]
    rows = PatchRows.trained(workspace)
    codebook = workspace.storage.read(f"{rows.codebook_folder().path}/codebook.safetensors")
    with run_cache.during("after the first dump"):
        assert patch_search.search(workspace).patches.rows.dumps == ("first",)
    store(workspace, "later", 5)
    with run_cache.during("between"):
        compute(patches.plan_codes(rows, "later"))
        assert patch_rows.searchable(workspace) == ["first"]
    with run_cache.during("after the second dump"):
        assert build(workspace) == ["patches: recall"]
        assert patch_search.search(workspace).patches.rows.dumps == ("first", "later")
    path = f"{PatchRows.trained(workspace).codebook_folder().path}/codebook.safetensors"
    assert workspace.storage.read(path) == codebook


def test_few_lists_are_scanned_where_they_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer patches than are scanned anyway there would be no choice."""
    monkeypatch.setattr(probe_recall, "LEAST_SCANNED", 20)
    monkeypatch.setattr(probe_recall, "RECALL", 0.5)
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    search = patch_search.search(workspace)
    assert 0 < search.probes < search.index.nlist
    every = search.index.ntotal
    numbers, _ = patch_index.nearest(search.index, queries(1)[0], search.probes, every)
    assert len(numbers) < every


@pytest.mark.parametrize("ranked", [1, 7])
def test_more_patches_are_ranked_where_few_images_have_them(
    tmp_path: Path, ranked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    search = patch_search.search(workspace)
    expected = [search.find(query, 100, 4) for query in queries(3)]
    assert [len(each) for each in expected] == [13] * 3
    monkeypatch.setattr(patch_search, "RANKED_PATCHES", ranked)
    assert [search.find(query, 100, 4) for query in queries(3)] == expected


@pytest.mark.parametrize(
    ("count", "lists", "least", "tries"),
    [
        (100, 16, 1000, [16]),
        (1000, 16, 100, [2, 4]),
        (1000, 64, 100, [7, 14, 16]),
        (0, 16, 100, [16]),
        (1000, 1, 100, [1]),
    ],
)
def test_lists_to_try(
    count: int, lists: int, least: int, tries: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_recall, "LEAST_SCANNED", least)
    assert probe_recall.probe_counts(count, lists) == tries


def test_threads_share_one_index(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    alone = [patch_search.search(workspace).find(query, 5) for query in queries()]

    def find(query: NDArray[np.float32]) -> list[PatchHit]:
        return patch_search.search(workspace).find(query, 5)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(find, queries())) == alone


def test_what_cannot_be_searched_says_why(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    with pytest.raises(WorkspaceError, match="not indexed yet"):
        patch_search.search(workspace)
    workspace.update_last_run(keys={}, dumps=[])
    assert patch_rows.searchable(workspace) == []
    with pytest.raises(WorkspaceError, match="no stored features"):
        patch_search.search(workspace)


def test_codes_of_another_codebook_are_not_mixed_in(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"), dumps=("first",))
    build(workspace)
    rows = PatchRows.trained(workspace)
    folder = rows.codebook_folder()
    folder.finish({**folder.manifest(), "codebook": "another"})
    (tmp_path / "ws" / rows.codes_folder("first").path / "manifest.json").unlink()
    with pytest.raises(WorkspaceError, match="begun from another codebook"):
        build(workspace)


def test_a_missing_shard_is_damage(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    folder = PatchRows.trained(workspace).codes_folder("first")
    shutil.rmtree(tmp_path / "ws" / folder.path / "codes" / "c" / "0")
    with run_cache.during("another run"), pytest.raises(DamageError, match="damaged"):
        patch_search.search(workspace)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b"IwPQ", b"IwFl"),
        lambda content: b"",
    ],
    ids=["cut", "flipped", "another kind", "empty"],
)
def test_a_codebook_of_other_bytes_is_damage(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    folder = PatchRows.trained(workspace).codebook_folder()
    file = tmp_path / "ws" / folder.path / layout.CODEBOOK_FILE
    file.write_bytes(change(file.read_bytes()))
    with run_cache.during("another run"), pytest.raises(DamageError, match="damaged"):
        patch_search.search(workspace)


@pytest.mark.parametrize("list_byte", [None, 255])
def test_codes_that_are_not_of_the_codebook_are_damage(
    tmp_path: Path, list_byte: int | None
) -> None:
    """Of another width, and of a list that there is not, with checksums that hold."""
    workspace = filled(str(tmp_path / "ws"))
    build(workspace)
    folder = PatchRows.trained(workspace).codes_folder("first")
    array = arrays.open_array(workspace.storage, folder.path, "codes", "r+")
    codes = np.asarray(array[:])
    if list_byte is None:
        shutil.rmtree(tmp_path / "ws" / folder.path / "codes")
        rows, width = codes.shape
        layout = Layout((rows, width - 1), "uint8", rows, rows)
        arrays.create(workspace.storage, folder.path, {"codes": layout})
        arrays.write_shard(workspace.storage, folder.path, "codes", 0, codes[:, 1:])
    else:
        codes[:, 0] = list_byte
        array[:] = codes
    with run_cache.during("another run"), pytest.raises(DamageError, match="not of this codebook"):
        patch_search.search(workspace)


def test_the_key_follows_the_trained_dumps(tmp_path: Path) -> None:
    workspace = filled(str(tmp_path / "ws"))
    one = PatchRows.trained(workspace)
    workspace.update_last_run(dumps=["first", "later"])
    both = PatchRows.trained(workspace)
    assert (one.rows.dumps, both.rows.dumps) == (("first",), ("first", "later"))
    assert one.path != both.path


def test_in_a_bucket(s3_environment: str, tmp_path: Path) -> None:
    places = str(tmp_path / "ws"), f"{s3_environment}/ws"
    found = []
    for place in places:
        workspace = filled(place, crops=1, dumps=("first",))
        build(workspace)
        found.append([patch_search.search(workspace).find(query, 5, 0) for query in queries(2)])
    assert found[0] == found[1]
    assert [len(each) for each in found[0]] == [5, 5]


@pytest.mark.parametrize("call", ["read_rows", "read_scattered"])
def test_scattered_rows_are_those_asked_for(tmp_path: Path, call: str) -> None:
    workspace = filled(str(tmp_path / "ws"), dumps=("first",))
    place = workspace.storage, f"features/{FEATURES}/first.zarr", "patches"
    whole = arrays.read_rows(*place, slice(None))
    rows = np.array([40, 3, 3, 21, 0])
    np.testing.assert_array_equal(getattr(arrays, call)(*place, rows), whole[rows])
    with pytest.raises(IndexError, match="of 50"):
        getattr(arrays, call)(*place, np.array([50]))
