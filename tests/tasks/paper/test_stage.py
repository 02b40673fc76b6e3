"""Squares of a published data set: exact pixels, resumed, with every loss on the list."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from stego_core.errors import InputError, WorkspaceError
from stego_core.paper.published_protocol import BENCHMARKS
from tasks.corpus import stage as corpus
from tasks.corpus.quarantine import quarantined
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.images import image_codecs
from tasks.paper import stage as prepare
from tasks.paper.datasets import DataSet
from tasks.paper.stage import Cut
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

COUNT, HEIGHT, WIDTH = 5, 25, 39
CUT = Cut(16, False, "nearest")


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """Cityscapes in small: images 39×25, ids 5 to 33."""
    draw = np.random.default_rng(0)
    for number in range(COUNT):
        name = f"ulm/ulm_{number:06d}_000019"
        for kind, ending, array in (
            ("leftImg8bit", "leftImg8bit", draw.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)),
            ("gtFine", "gtFine_labelIds", draw.integers(5, 34, (HEIGHT, WIDTH), np.uint8)),
        ):
            path = tmp_path / f"data/{kind}/val/{name}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return DataSet.at(str(tmp_path / "data"), BENCHMARKS["cityscapes27"])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


def compute(stage: Stage | None) -> Stage:
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def prepared(workspace: Workspace, data: DataSet, cut: Cut, limit: int | None = None) -> Path:
    prepare.finish(compute(prepare.plan(workspace, "val", data, "val", cut, limit)), 0.0, 1)
    return Path(workspace.storage.uri) / "prepared/val"


def published(image: Image.Image, side: int, how: InterpolationMode) -> np.ndarray:
    """The released transform: short side, then the centre."""
    resized = transforms.resize(image, side, how)
    return np.asarray(transforms.center_crop(resized, [side, side]))


def test_whole_images_and_labels(workspace: Workspace, data: DataSet) -> None:
    for resampling in ("nearest", "bilinear"):
        place = Workspace.create(f"{workspace.storage.uri}-{resampling}")
        folder = prepared(place, data, Cut(16, False, resampling))
        for row, pair in enumerate(data.pairs("val")):
            name = f"{row:06d}-{pair.name.rpartition('/')[2]}.png"
            image = Image.open(data.storage.full(pair.image))
            expected = published(image, 16, InterpolationMode(resampling))
            np.testing.assert_array_equal(Image.open(folder / "images" / name), expected)
            label = Image.open(data.storage.full(pair.label))
            ids = published(label, 16, InterpolationMode.NEAREST).astype(int) - 7
            ids[ids < 0] = 255
            np.testing.assert_array_equal(Image.open(folder / "labels" / name), ids)


def test_five_crops_go_through_jpeg_and_labels_do_not(
    workspace: Workspace, data: DataSet, tmp_path: Path
) -> None:
    folder = prepared(workspace, data, Cut(8, True, "nearest"))
    assert len(list((folder / "images").iterdir())) == 5 * COUNT
    pair = data.pairs("val")[2]
    image, label = (Image.open(data.storage.full(path)) for path in (pair.image, pair.label))
    size = [HEIGHT // 2, WIDTH // 2]
    both = zip(transforms.five_crop(image, size), transforms.five_crop(label, size), strict=True)
    for number, (crop, ids) in enumerate(both):
        crop.save(tmp_path / "crop.jpg", "JPEG")
        name = f"000002-{pair.name.rpartition('/')[2]}-{number}.png"
        expected = published(Image.open(tmp_path / "crop.jpg"), 8, InterpolationMode.NEAREST)
        np.testing.assert_array_equal(Image.open(folder / "images" / name), expected)
        stored = published(ids, 8, InterpolationMode.NEAREST).astype(int) - 7
        stored[stored < 0] = 255
        np.testing.assert_array_equal(Image.open(folder / "labels" / name), stored)


def test_the_corpus_reads_what_was_written(workspace: Workspace, data: DataSet) -> None:
    prepared(workspace, data, CUT, limit=3)
    stage = corpus.plan(workspace, "val", prepare.corpus_options(workspace, "val"))
    manifest = corpus.finish(workspace, compute(stage), 0.0, 1)
    assert (manifest["images"], manifest["labelled"], manifest["quarantined"]) == (3, 3, 0)
    assert manifest["taxonomy"]["classes"] == list(BENCHMARKS["cityscapes27"].classes)


def test_killed_and_started_again(
    workspace: Workspace, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "SHARD_IMAGES", 2)
    stage = prepare.plan(workspace, "val", data, "val", CUT, None)
    assert stage is not None
    assert stage.shards == 3
    list(LoopExecutor().map(stage.work.steps(), [1]))
    first = Path(workspace.storage.uri) / "prepared/val/images/000002-ulm_000002_000019.png"
    written = first.stat().st_mtime_ns
    manifest = prepare.finish(
        compute(prepare.plan(workspace, "val", data, "val", CUT, None)), 0.0, 2
    )
    assert first.stat().st_mtime_ns == written
    assert (manifest["squares"], manifest["quarantined"]) == (COUNT, 0)
    assert prepare.plan(workspace, "val", data, "val", CUT, None) is None


def test_what_cannot_be_used_is_listed_with_its_reason(workspace: Workspace, data: DataSet) -> None:
    pairs = data.pairs("val")
    Path(data.storage.full(pairs[1].image)).write_bytes(b"not an image")
    Path(data.storage.full(pairs[3].label)).unlink()
    folder = prepared(workspace, data, CUT)
    assert json.loads((folder / "manifest.json").read_text())["quarantined"] == 2
    stage = corpus.plan(workspace, "val", prepare.corpus_options(workspace, "val"))
    corpus.finish(workspace, compute(stage), 0.0, 1)
    first, second = quarantined(Summary(workspace))
    assert (first["path"], first["stage"]) == (pairs[1].image, "prepare")
    assert "not an image" in first["reason"]
    assert second["path"] == pairs[3].image
    assert f"label {pairs[3].label}: cannot be read" in second["reason"]


def test_nothing_usable(workspace: Workspace, data: DataSet) -> None:
    for pair in data.pairs("val"):
        Image.new("L", (WIDTH, HEIGHT), 40).save(data.storage.full(pair.label))
    with pytest.raises(InputError, match=r"none of the 5 images of val can be used.*\[40\]"):
        prepared(workspace, data, CUT)


def test_the_same_command_works_once_the_data_are_mended(
    workspace: Workspace, data: DataSet
) -> None:
    labels = {pair: data.storage.read(pair.label) for pair in data.pairs("val")}
    for pair in labels:
        data.storage.remove(pair.label)
    with pytest.raises(InputError, match="none of the 5 images"):
        prepared(workspace, data, CUT)
    for pair, content in labels.items():
        data.storage.write(pair.label, content)
    folder = prepared(workspace, data, CUT)
    assert json.loads((folder / "manifest.json").read_text())["squares"] == COUNT


@pytest.mark.parametrize(
    ("cut", "limit", "named"),
    [
        (Cut(24, False, "nearest"), None, "side"),
        (Cut(16, True, "nearest"), None, "crops"),
        (Cut(16, False, "bilinear"), None, "resampling"),
        (CUT, 2, "limit"),
    ],
)
def test_another_cut_is_another_workspace(
    workspace: Workspace, data: DataSet, cut: Cut, limit: int | None, named: str
) -> None:
    prepared(workspace, data, CUT)
    with pytest.raises(WorkspaceError, match=f"begun from another {named}"):
        prepare.plan(workspace, "val", data, "val", cut, limit)


def test_an_absent_data_set_leaves_no_trace(workspace: Workspace, tmp_path: Path) -> None:
    nothing = DataSet.at(str(tmp_path), BENCHMARKS["potsdam3"])
    with pytest.raises(InputError, match=r"has no labelled_test.txt"):
        prepare.plan(workspace, "val", nothing, "val", CUT, None)
    assert not (Path(workspace.storage.uri) / "prepared").exists()


def test_jpeg_round_trip_is_pillow_s_own(tmp_path: Path, noise: np.ndarray) -> None:
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(image_codecs.through_jpeg(noise), Image.open(tmp_path / "a.jpg"))
