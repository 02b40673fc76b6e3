"""What a dump's numbers mean is decided from all of it, kept in its key, and passed on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from flows.demo.scenes import scene, scene_generator
from stego_core.errors import WorkspaceError
from stego_core.images.rendering import patches_with_data
from stego_core.labels.void import VOID_BYTE
from stego_core.scores.metrics import Confusion
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.images import image_codecs, number_counts, number_meaning
from tasks.options import CorpusOptions
from tasks.storage import run_cache
from tasks.workspace.workspace import Workspace

SIZE = (40, 56)


def write(path: Path, bands: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=bands.dtype, **shape, **options) as file:
        file.write(bands)


def scenes(folder: Path, count: int, factor: int, first: int = 0) -> Path:
    """Scenes of 16 bits."""
    for number in range(first, first + count):
        rgb = scene(scene_generator(0, number), SIZE)[0]
        write(folder / f"s{number:02d}.tif", rgb.transpose(2, 0, 1).astype(np.uint16) * factor)
    return folder


def begun(workspace: Workspace, dump: str, folder: Path, **options: Any) -> Stage:
    """A dump whose shards are computed."""
    continuing = options.pop("continuing", False)
    chosen = CorpusOptions(images=str(folder), **options)
    stage = corpus.plan(workspace, dump, chosen, continuing=continuing)
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def indexed(workspace: Workspace, dump: str, folder: Path, **options: Any) -> dict[str, Any]:
    """A finished dump's manifest."""
    return corpus.finish(workspace, begun(workspace, dump, folder, **options), 0.0, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


def test_any_partition_decides_the_same(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scenes(tmp_path / "images", 7, 12)
    hole = np.full((1, *SIZE), 0.5, np.float32)
    hole[:, :9] = -9999
    write(folder / "z.tif", hole)
    whole = indexed(workspace, "whole", folder)
    monkeypatch.setattr(corpus, "SHARD_IMAGES", 2)
    parts = indexed(workspace, "parts", folder)
    assert parts["shards"] == 4
    assert parts["values"] == whole["values"]


def test_ordinary_pictures_keep_their_key(
    workspace: Workspace, tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    """As it was before the corpus decided anything: the digests of its files alone."""
    made = make_corpus(tmp_path / "made", 3)
    found = indexed(workspace, "a", made / "images")
    entries = IndexReader(workspace, "a").entries(np.arange(3))
    from tasks.workspace import keys

    pinned = [[each[name] for name in ("image_id", "digest", "label_digest")] for each in entries]
    own = keys.digest(keys.canonical(pinned))
    assert found["index"] == keys.digest(keys.canonical([own]))


def test_another_decision_is_another_key(workspace: Workspace, tmp_path: Path) -> None:
    folder = scenes(tmp_path / "images", 3, 12)
    found = [
        indexed(workspace, f"d{number}", folder, **options)["index"]
        for number, options in enumerate(
            ({}, {"value_range": "0,3000"}, {"value_range": "file"}, {"bands": "3,2,1"})
        )
    ]
    assert len(set(found)) == len(found)
    assert indexed(workspace, "again", folder)["index"] == found[0]


def test_a_finished_dump_of_other_options_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    folder = scenes(tmp_path / "images", 2, 12)
    indexed(workspace, "a", folder)
    with pytest.raises(WorkspaceError, match="value_range"):
        corpus.plan(workspace, "a", CorpusOptions(images=str(folder), value_range="0,9"))


def test_a_continuing_dump_takes_ranges_and_bands(workspace: Workspace, tmp_path: Path) -> None:
    first = indexed(workspace, "a", scenes(tmp_path / "a", 3, 12), bands="3,2,1")
    later = scenes(tmp_path / "b", 2, 24, first=5)
    own = indexed(workspace, "own", later)
    continuing = indexed(workspace, "b", later, continuing=True)
    assert continuing["values"]["renderings"] == first["values"]["renderings"]
    assert continuing["values"]["bands"] == [3, 2, 1]
    assert own["values"]["renderings"] != first["values"]["renderings"]
    assert "outside of the range" in continuing["values"]["warnings"][0]
    picture = IndexReader(workspace, "b").image(IndexReader(workspace, "b").entry(0)).pixels
    rgb = scene(scene_generator(0, 5), SIZE)[0].astype(float)
    high = first["values"]["renderings"][0]["ranges"][0][1]
    expected = (rgb[..., ::-1] * 24 * 255 / high).clip(0, 255)
    assert np.abs(picture - expected).max() <= 0.51


def test_what_holds_no_data_is_quarantined(workspace: Workspace, tmp_path: Path) -> None:
    folder = scenes(tmp_path / "images", 2, 12)
    write(folder / "empty.tif", np.full((1, 8, 8), np.nan, np.float32))
    Image.new("RGBA", (8, 8)).save(folder / "clear.png")
    found = indexed(workspace, "a", folder)
    assert (found["images"], found["quarantined"]) == (2, 2)
    reasons = {row["path"]: row["reason"] for row in IndexReader(workspace, "a").quarantine()}
    assert set(reasons.values()) == {"none of its pixels holds data"}
    assert not list(folder.glob("*.aux.xml"))


def test_a_dump_of_an_earlier_version_is_read_as_it_was(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rgb = scene(scene_generator(0, 1), SIZE)[0]
    clear = Image.fromarray(rgb).convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(rgb[..., 0] > 99, 255, 0).astype(np.uint8)))
    clear.save(folder / "clear.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 12).save(folder / "deep.png")
    indexed(workspace, "a", folder)
    path = Path(workspace.storage.uri) / "corpus/a/manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["values"]
    path.write_text(json.dumps(manifest))
    older = Workspace.open(workspace.storage.uri)
    index = IndexReader(older, "a")
    with run_cache.during("another run"):
        for entry in index.entries(np.arange(2)):
            picture = index.image(entry)
            assert picture.valid is None
            expected = image_codecs.decode((folder / entry["path"]).read_bytes(), 10**6)
            np.testing.assert_array_equal(picture.pixels, expected)
        assert number_meaning.remarks(index.manifest)["told"] == [number_meaning.EARLIER_VERSION]


def test_a_dump_that_an_earlier_version_began(workspace: Workspace, tmp_path: Path) -> None:
    stage = begun(workspace, "a", scenes(tmp_path / "images", 2, 12))
    (path,) = (Path(workspace.storage.uri) / "corpus/a/records").glob("*.json")
    record = json.loads(path.read_text())
    del record["results"]["values"]
    path.write_text(json.dumps(record))
    with pytest.raises(WorkspaceError, match="begun by an earlier version"):
        corpus.finish(workspace, stage, 0.0, 1)


def test_an_ordinary_picture_is_counted_on_some_of_its_pixels(
    monkeypatch: pytest.MonkeyPatch, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    from tasks.images import rendering

    made = make_corpus(tmp_path / "made", 1)
    content = next((made / "images").iterdir()).read_bytes()
    with rendering.opened(content, 10**6) as source:
        whole = number_counts.NumberCounts.of(source)
        monkeypatch.setattr(number_counts, "SAMPLE_PIXELS", 1000)
        some = number_counts.NumberCounts.of(source)
    assert whole.opaque[0].total == whole.pixels == some.pixels == 96 * 128
    assert 500 < some.opaque[0].total <= 1000


def test_pixels_without_data_count_in_no_confusion() -> None:
    labels, clusters = np.array([0, 1, -1, 1]), np.array([2, VOID_BYTE, VOID_BYTE, 0], np.uint8)
    matrix = Confusion(2, 3)
    matrix.add(labels, clusters)
    assert matrix.counts.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_half_of_a_patch_is_enough() -> None:
    valid = np.zeros((4, 8), np.bool_)
    valid[:, :2] = True
    assert patches_with_data(valid, 1, 2).tolist() == [[True, False]]
