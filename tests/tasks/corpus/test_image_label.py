"""One image's label: read or rasterised, described, quarantined, or a problem that ends the run."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.image_label import WITHOUT_LABEL, LabelSource
from tasks.images.decoding_memory import MemoryBudget
from tasks.images.image_codecs import Size
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout
from tasks.workspace.workspace import Workspace

SIZE = Size(3, 4)
CLASSES = Taxonomy("t", ("ground", "car"))


def png(values: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


IMAGE = png(np.zeros((*SIZE, 3)))


class Place:
    """Labels in a folder, and what an image's entry says of one."""

    def __init__(self, tmp_path: Path) -> None:
        self.labels = Storage.at(str(tmp_path / "labels"))
        self.workspace = Workspace.create(str(tmp_path / "ws"))

    def describe(
        self, row: dict[str, Any], taxonomy: Taxonomy | None = CLASSES, coco: bool = False
    ) -> dict[str, Any]:
        source = LabelSource(self.workspace, "d", self.labels, taxonomy, 1000, coco)
        return source.describe({"image_id": "a", **row}, SIZE, IMAGE, MemoryBudget(2**20))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without(place: Place) -> None:
    assert place.describe({"label": None}) == WITHOUT_LABEL
    nowhere = LabelSource(place.workspace, "d", None, None, 1000)
    described = nowhere.describe({"label": "a.png"}, SIZE, IMAGE, MemoryBudget(2**20))
    assert described == WITHOUT_LABEL


def test_pixels_of_each_class(place: Place) -> None:
    content = png([[0, 0, 0, 0], [1, 1, 255, 255], [0, 0, 0, 255]])
    place.labels.write("a.png", content)
    assert place.describe({"label": "a.png"}) == {
        "label": "a.png",
        "label_digest": keys.digest(content),
        "highest_label": 1,
        "label_pixels": [7, 2],
        "unnamed_void": 3,
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "label: cannot be read"),
        (b"", "label: the file is empty"),
        (b"text", "label: not an image"),
        (png(np.zeros((*SIZE, 3))), "label: label has mode RGB"),
    ],
)
def test_unreadable_ones_are_quarantined(place: Place, content: bytes | None, reason: str) -> None:
    if content is not None:
        place.labels.write("a.png", content)
    described = place.describe({"label": "a.png"})
    assert described.pop("label_reason").startswith(reason)
    assert described == {**WITHOUT_LABEL, "label": "a.png"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [(np.zeros((4, 3)), "a.png is 4×3, its image 3×4"), (np.full(SIZE, 7), "a.png: ")],
)
def test_wrong_ones_are_a_problem(place: Place, values: Any, problem: str) -> None:
    place.labels.write("a.png", png(values))
    described = place.describe({"label": "a.png"})
    assert described.pop("problem").startswith(problem)
    assert described == WITHOUT_LABEL


def test_of_a_page(place: Place) -> None:
    place.labels.write("a.png", png(np.zeros(SIZE)))
    assert place.describe({"label": "a.png", "page": 0})["label_pixels"] == [12]
    reason = place.describe({"label": "a.png", "page": 1})["label_reason"]
    assert reason == "label: label has one page, its image has a page 2"


def test_areas_of_a_coco_file_are_rasterised_and_kept(place: Place) -> None:
    square = [[0, 0, 2, 0, 2, 2, 0, 2]]
    areas = json.dumps({"size": [3, 4], "fill": 0, "drawn": [[1, False, square]]})
    row = {"label": "i.json: a.jpg", "areas": areas, "page": 3}
    described = place.describe(row, coco=True)
    assert described["label_pixels"] == [8, 4]
    kept = place.workspace.storage.read(layout.label("d", "a"))
    assert described["label_digest"] == keys.digest(kept)
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert np.asarray(Image.open(io.BytesIO(kept))).tolist() == expected
