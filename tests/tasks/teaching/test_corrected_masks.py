"""Corrected masks: what changed in them is taught, whatever form they come in."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corrected import BOTTOM, LEFT, RIGHT, TOP, current_mask, require_road
from explored_workspace import CLUSTERS
from PIL import Image

from stego_core.errors import InputError
from tasks.class_names import classes_file
from tasks.images.image_codecs import encode_mask
from tasks.teaching.corrected_masks import read_masks
from tasks.teaching.point_files import ReadPoints
from tasks.workspace.workspace import Workspace


@pytest.fixture
def current(workspace: Workspace) -> np.ndarray:
    return current_mask(workspace)


@pytest.fixture
def corrected(current: np.ndarray) -> np.ndarray:
    """The same with a square of road where there was none, and one pixel of no class."""
    mask = current.copy()
    mask[TOP:BOTTOM, LEFT:RIGHT] = 0
    mask[0, 0] = 255
    return mask


@pytest.fixture
def read(workspace: Workspace, tmp_path: Path) -> Callable[..., ReadPoints]:
    def of(content: bytes, name: str = "s001.png", taxonomy: str | None = None) -> ReadPoints:
        folder = tmp_path / "corrected"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return read_masks(workspace, str(folder), ["first", "later"], CLUSTERS, taxonomy)

    return of


def png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def colours(workspace: Workspace) -> np.ndarray:
    return classes_file.current_names(workspace).classes.colours()


def test_ids_as_masks_are_stored(
    workspace: Workspace, read: Callable[..., ReadPoints], current: np.ndarray,
    corrected: np.ndarray,
) -> None:  # fmt: skip
    require_road(read(encode_mask(corrected, colours(workspace))), current)


def test_colours_as_other_tools_write_them(
    workspace: Workspace, read: Callable[..., ReadPoints], current: np.ndarray,
    corrected: np.ndarray,
) -> None:  # fmt: skip
    coloured = np.concatenate(
        [colours(workspace)[corrected], 255 * (corrected[..., None] < 255)], 2
    )
    require_road(read(png(Image.fromarray(coloured.astype(np.uint8), "RGBA"))), current)


def test_label_images_of_a_taxonomy_of_their_own(
    read: Callable[..., ReadPoints], tmp_path: Path, current: np.ndarray, corrected: np.ndarray
) -> None:
    """Classes are compared by their names; a new one counts everywhere."""
    taxonomy = tmp_path / "own.json"
    taxonomy.write_text(json.dumps({"classes": ["bridge", "Tree", "Road"]}))
    labels = np.full(corrected.shape, 255, np.uint8)
    labels[corrected == 0] = 2
    labels[current == 1] = 1
    labels[:6, :6] = 0
    found = read(png(Image.fromarray(labels)), taxonomy=str(taxonomy))
    assert {lesson.name for lesson in found.lessons} == {"Road", "bridge"}
    assert all(lesson.x < 6 for lesson in found.lessons if lesson.name == "bridge")


def test_a_mask_that_nobody_changed_teaches_nothing(
    workspace: Workspace, read: Callable[..., ReadPoints], current: np.ndarray
) -> None:
    with pytest.raises(InputError, match="none differs from the current masks"):
        read(encode_mask(current, colours(workspace)))


def test_masks_that_cannot_be_used_are_told_and_the_others_go_on(
    workspace: Workspace, read: Callable[..., ReadPoints], current: np.ndarray,
    corrected: np.ndarray, tmp_path: Path,
) -> None:  # fmt: skip
    folder = tmp_path / "corrected"
    folder.mkdir()
    good = encode_mask(corrected, colours(workspace))
    (folder / "s000.png").write_bytes(good[:60])
    (folder / "s002.png").write_bytes(png(Image.new("L", (8, 8))))
    (folder / "s003.png").write_bytes(png(Image.new("L", (64, 64), 77)))
    (folder / "unknown.png").write_bytes(good)
    (folder / "notes.txt").write_text("mine")
    found = read(good, "sub/s001.png")
    assert len(found.problems) == 4
    text = "\n".join(found.problems)
    for part in ("s000.png: ", "s002.png: is 8×8, its image 64×64", "s003.png: ", "no image 'unk"):
        assert part in text
    require_road(ReadPoints(found.lessons, []), current)


@pytest.mark.parametrize("names", [[], ["notes.txt"]])
def test_a_folder_without_masks_is_refused(
    workspace: Workspace, tmp_path: Path, names: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for name in names:
        (tmp_path / "empty" / name).write_text("mine")
    with pytest.raises(InputError, match="holds no mask"):
        read_masks(workspace, str(tmp_path / "empty"), ["first"], CLUSTERS)


class TestFoldersOfCvat:
    """Format "Segmentation mask 1.1", which is Pascal VOC's with a list of colours."""

    COLOURS = (
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n\nsky:1,2,3::\n"
    )

    def folder(self, tmp_path: Path, mask: np.ndarray, colours: str = COLOURS) -> str:
        """The square of road alone, as Datumaro's writer, which CVAT uses, names its files."""
        folder = tmp_path / "cvat"
        for name in ("SegmentationClass", "SegmentationObject"):
            (folder / name).mkdir(parents=True)
        pixels = np.zeros((*mask.shape, 3), np.uint8)
        pixels[TOP:BOTTOM, LEFT:RIGHT] = [128, 64, 128]
        (folder / "SegmentationClass" / "s001.png").write_bytes(png(Image.fromarray(pixels)))
        (folder / "SegmentationObject" / "s001.png").write_bytes(png(Image.fromarray(pixels + 1)))
        (folder / "labelmap.txt").write_text(colours)
        return str(folder)

    def test_masks_of_classes_count_and_those_of_objects_do_not(
        self, workspace: Workspace, tmp_path: Path, current: np.ndarray
    ) -> None:
        folder = self.folder(tmp_path, current)
        require_road(read_masks(workspace, folder, ["first"], CLUSTERS), current)

    def test_a_background_that_is_a_class_is_learned(
        self, workspace: Workspace, tmp_path: Path, current: np.ndarray
    ) -> None:
        classes = classes_file.current_names(workspace).classes
        classes_file.edit(workspace, classes.edited(2, "background"), "named")
        found = read_masks(workspace, self.folder(tmp_path, current), ["first"], CLUSTERS)
        assert {lesson.name for lesson in found.lessons} == {"road", "background"}

    @pytest.mark.parametrize("line", ["road", "road:1,2", "road:red::"])
    def test_a_list_that_cannot_be_read_is_refused(
        self, workspace: Workspace, tmp_path: Path, current: np.ndarray, line: str
    ) -> None:
        folder = self.folder(tmp_path, current, line + "\n")
        with pytest.raises(InputError, match=r"labelmap|colours"):
            read_masks(workspace, folder, ["first"], CLUSTERS)

    def test_datumaros_own_files(
        self, workspace: Workspace, tmp_path: Path, current: np.ndarray
    ) -> None:
        datumaro = pytest.importorskip("datumaro")
        drawn = np.zeros(current.shape, bool)
        drawn[TOP:BOTTOM, LEFT:RIGHT] = True
        item = datumaro.DatasetItem("s001", annotations=[datumaro.Mask(drawn, label=1)])
        dataset = datumaro.Dataset.from_iterable([item], categories=["background", "road"])
        folder = str(tmp_path / "voc")
        colours = {"background": [(0, 0, 0), [], []], "road": [(128, 64, 128), [], []]}
        dataset.export(folder, "voc_segmentation", label_map=colours)
        require_road(read_masks(workspace, folder, ["first"], CLUSTERS), current)
