"""Corrected masks: what changed in them is taught, whatever form they come in."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from explored_workspace import CLUSTERS
from PIL import Image

from stego_core.errors import InputError
from tasks.class_names import classes_file
from tasks.images.image_codecs import decode_mask, encode_mask
from tasks.teaching.corrected_masks import read_masks
from tasks.teaching.point_files import ReadPoints
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace


@pytest.fixture
def current(workspace: Workspace) -> np.ndarray:
    """The current mask of the second image, with names of two of its classes."""
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.edited(0, "road").edited(1, "tree"), "named")
    path = layout.mask(layout.masks(workspace.last_run()["keys"]["masks"], "first"), "s001")
    return decode_mask(workspace.storage.read(path))


@pytest.fixture
def corrected(current: np.ndarray) -> np.ndarray:
    """The same with a square of road where there was none, and one pixel of no class."""
    mask = current.copy()
    mask[20:50, 8:40] = 0
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


def require_road(found: ReadPoints, current: np.ndarray) -> None:
    assert found.problems == []
    assert {(lesson.dump, lesson.image_id, lesson.name) for lesson in found.lessons} == {
        ("first", "s001", "road")
    }
    for lesson in found.lessons:
        assert 20 <= lesson.y < 50
        assert 8 <= lesson.x < 40
        assert current[lesson.y, lesson.x] != 0


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
