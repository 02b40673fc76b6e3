"""CVAT's own files: what was drawn on top counts, what cannot be used is told."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from corrected import BOTTOM, LEFT, RIGHT, TOP, current_mask, require_road
from explored_workspace import CLUSTERS

from stego_core.errors import InputError
from tasks import exports
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.teaching.corrected_masks import read_masks
from tasks.teaching.cvat_annotations import cvat_images
from tasks.teaching.point_files import ReadPoints
from tasks.workspace.workspace import Workspace

SQUARE = f"{LEFT},{TOP};{RIGHT},{TOP};{RIGHT},{BOTTOM};{LEFT},{BOTTOM}"


@pytest.fixture
def current(workspace: Workspace) -> np.ndarray:
    return current_mask(workspace)


@pytest.fixture
def read(workspace: Workspace, tmp_path: Path) -> Callable[..., ReadPoints]:
    def of(shapes: str, image: str = "s001.png") -> ReadPoints:
        file = tmp_path / "given.xml"
        file.write_text(f'<annotations><image id="0" name="{image}">{shapes}</image></annotations>')
        return read_masks(workspace, str(file), ["first", "later"], CLUSTERS)

    return of


def shape(label: str, points: str, order: int = 0) -> str:
    return f'<polygon label="{label}" z_order="{order}" points="{points}"/>'


def mask(label: str, runs: str, left: int, top: int, width: int, height: int) -> str:
    box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    return f'<mask label="{label}" rle="{runs}" {box} z_order="0"/>'


def test_an_export_that_was_corrected_comes_back(
    workspace: Workspace, tmp_path: Path, current: np.ndarray
) -> None:
    """The export's images lie beside its file, and are no masks."""
    out = tmp_path / "out"
    options = ExportOptions(with_images=True)
    exports.export(workspace, "cvat", Storage.at(str(out)), ["first", "later"], options)
    with pytest.raises(InputError, match="none differs"):
        read_masks(workspace, str(out), ["first", "later"], CLUSTERS)
    tree = ElementTree.parse(out / "annotations.xml")
    (image,) = (e for e in tree.iter("image") if "s001" in e.get("name", ""))
    image.append(ElementTree.fromstring(shape("road", SQUARE)))
    tree.write(out / "annotations.xml")
    require_road(read_masks(workspace, str(out), ["first", "later"], CLUSTERS), current)


def test_datumaros_own_file(workspace: Workspace, tmp_path: Path, current: np.ndarray) -> None:
    datumaro = pytest.importorskip("datumaro")
    points = [float(number) for number in SQUARE.replace(";", ",").split(",")]
    item = datumaro.DatasetItem(
        "s001",
        media=datumaro.Image.from_numpy(np.zeros((*current.shape, 3), np.uint8)),
        annotations=[datumaro.Polygon(points, label=0)],
    )
    dataset = datumaro.Dataset.from_iterable([item], categories=["road"], media_type=datumaro.Image)
    dataset.export(str(tmp_path / "cvat"), "cvat")
    (file,) = (tmp_path / "cvat").rglob("*.xml")
    require_road(read_masks(workspace, str(file), ["first"], CLUSTERS), current)


def test_a_masks_runs_are_of_its_box_outside_first(
    read: Callable[..., ReadPoints], current: np.ndarray
) -> None:
    width, height = RIGHT - LEFT, BOTTOM - TOP
    runs = f"0,{width * height}"
    require_road(read(mask("road", runs, LEFT, TOP, width, height)), current)
    nothing = mask("road", f"{width * height}", LEFT, TOP, width, height)
    with pytest.raises(InputError, match="none differs"):
        read(nothing)


def test_the_highest_layer_is_seen(read: Callable[..., ReadPoints]) -> None:
    found = read(shape("bridge", SQUARE, order=2) + shape("river", SQUARE, order=-1))
    assert {lesson.name for lesson in found.lessons} == {"bridge"}
    found = read(shape("bridge", SQUARE) + shape("river", SQUARE))
    assert {lesson.name for lesson in found.lessons} == {"river"}


def test_what_cannot_be_used_is_told_and_the_rest_learned(
    read: Callable[..., ReadPoints], current: np.ndarray
) -> None:
    box = '<box label="road" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    broken = f'</image><image name="s002.png">{mask("road", "5", 0, 0, 64, 64)}</image>'
    outside = f'<image name="s003.png">{mask("road", "0,4", 63, 63, 2, 2)}</image>'
    two = f'<image name="s004.png">{shape("road", "1,1;2,2")}</image>'
    nameless = f'<image name="s005.png">{shape("", SQUARE)}</image>'
    unknown = (
        f'<image name="elsewhere/x.png">{shape("road", SQUARE)}</image><image name="s000.png">'
    )
    found = read(shape("road", SQUARE) + box + broken + outside + two + nameless + unknown)
    text = "\n".join(found.problems)
    for part in (
        "s001.png: 1 shapes left out, such as a box",
        "s002.png: a mask cannot be read: 5 pixels in runs, expected 64×64",
        "s003.png: a mask of 2×2 at row 63, column 63 does not fit",
        "s004.png: label: a segmentation has no polygon of three points",
        "s005.png: the class is ''",
        "elsewhere/x.png: there is no image 'elsewhere/x.png'",
    ):
        assert part in text
    assert len(found.problems) == 6
    require_road(ReadPoints(found.lessons, []), current)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations><image", "not XML that can be read"),
        ("<annotations><track/></annotations>", "tracks of a video"),
        ("<annotations/>", "holds no image"),
    ],
)
def test_other_files_are_refused(content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(cvat_images(content.encode(), "given.xml"))
