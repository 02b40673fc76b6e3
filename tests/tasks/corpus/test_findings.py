"""What takes all files of a dump together: labels, copies, further pages."""

from pathlib import Path
from typing import Any, cast

import pytest

from stego_core.errors import InputError
from tasks.corpus import findings
from tasks.engine.stage import Stage, Work
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder, Record


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(Storage.at(str(tmp_path)), "corpus/d")


def stage(folder: Folder, **manifest: Any) -> Stage:
    return Stage(folder, "corpus d", "images", 4, 2, cast(Work, None), manifest)


def records(*results: dict[str, Any]) -> list[Record]:
    return [Record(n, (n, n + 1), 0, "", results=part) for n, part in enumerate(results)]


class TestLabels:
    def test_no_problem(self) -> None:
        findings.refuse_problems([])

    def test_problems_are_counted_and_the_first_is_named(self) -> None:
        with pytest.raises(InputError, match="2 labels do not fit, the first: a is wrong; mend"):
            findings.refuse_problems(["a is wrong", "b is wrong"])

    @pytest.mark.parametrize("reason", ["label: not an image", "label not an image"])
    def test_an_unreadable_one_is_told_once(self, reason: str) -> None:
        entry = {"label": "a.png", "path": "a.jpg", "label_reason": reason}
        told = {"label": "a.png", "path": "a.jpg", "reason": "not an image"}
        assert findings.unreadable_label(entry) == told

    def test_all_unreadable(self, folder: Folder) -> None:
        bad = {"label": "b.png", "path": "b.jpg", "reason": "empty"}
        parts = records({"bad_label": None}, {"bad_label": bad}, {"bad_label": {"label": "c"}})
        begun = stage(folder, coco=None, taxonomy=None)
        with pytest.raises(InputError, match=r"the first: label b\.png of image b\.jpg: empty"):
            findings.require_labels(begun, parts, 0)
        findings.require_labels(begun, parts, 1)

    def test_255_beside_a_class_that_never_occurs(self, folder: Folder) -> None:
        parts = records(
            {"label_pixels": [5], "unnamed_void": 2}, {"label_pixels": [1, 0], "unnamed_void": 1}
        )
        taxonomy = {"classes": ["sky", "road"]}
        with pytest.raises(InputError, match=r"class 1, 'road', occurs in 0 pixels .* in 3;"):
            findings.require_labels(stage(folder, coco=None, taxonomy=taxonomy), parts, 2)
        with pytest.raises(InputError, match=r"one value, 0 \(6 pixels\), besides 255 \(3 pixels"):
            findings.require_labels(stage(folder, coco=None, taxonomy=None), parts, 2)
        findings.require_labels(stage(folder, coco={"path": "i.json"}, taxonomy=taxonomy), parts, 2)


class TestCopies:
    def remark(self, folder: Folder, *rows: tuple[str, str, int | None], **pins: Any) -> list[str]:
        columns = {"path": "string", "digest": "string", "page": "int64"}
        values = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
        tables.write_table(folder.storage, f"{folder.path}/{layout.INDEX_FILE}", values, columns)
        return findings.remark_on_copies(stage(folder, **pins))

    def test_none(self, folder: Folder) -> None:
        assert self.remark(folder, ("a", "1", None), ("b", "2", None)) == []

    def test_some(self, folder: Folder) -> None:
        rows = ("a", "1", None), ("b", "2", None), ("c", "1", None), ("d", "2", None)
        (line,) = self.remark(folder, *rows)
        assert line == "2 images are copies of others, byte for byte (for example c)"

    def test_all(self, folder: Folder) -> None:
        (line,) = self.remark(folder, ("a", "1", None), ("b", "1", None), ("c", "1", None))
        assert line.startswith("all 3 images are alike")

    def test_pages_of_one_file_are_no_copies(self, folder: Folder) -> None:
        assert self.remark(folder, ("a", "1", 0), ("a", "1", 1), pages="all") == []
        assert len(self.remark(folder, ("a", "1", 0), ("a", "1", 1))) == 1


def test_unused_pages_add_up_with_the_first_example() -> None:
    parts: list[dict[str, Any]] = [
        {},
        {"page": {"count": 2, "example": "a.tif"}},
        {"frame": {"count": 1, "example": "b.gif"}},
        {"page": {"count": 3, "example": "c.tif"}},
    ]
    total = {"page": {"count": 5, "example": "a.tif"}, "frame": {"count": 1, "example": "b.gif"}}
    assert findings.sum_unused_pages(parts) == total
    assert parts[1]["page"]["count"] == 2
    assert findings.sum_unused_pages([]) == {}


def test_files_of_shards_are_in_order(folder: Folder) -> None:
    names = [findings.part_file(folder, "index", shard) for shard in (9, 10, 100)]
    assert names == sorted(names)
    assert findings.values_file(folder, 3) == "corpus/d/parts/values-000003.safetensors"
