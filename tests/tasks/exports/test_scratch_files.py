"""Files that grow item by item."""

import json
from pathlib import Path

import pytest

from tasks.exports.scratch_files import TextFile


def test_items_stand_between_head_and_tail(tmp_path: Path) -> None:
    file = TextFile(tmp_path / "a.json", '{"rows":[\n', "\n]}\n")
    file.item({"name": "Straße"})
    file.item([1, 2])
    assert (file.items, file.finished()) == (2, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"rows": [{"name": "Straße"}, [1, 2]]}


def test_no_item_is_an_empty_array(tmp_path: Path) -> None:
    assert TextFile(tmp_path / "a.json", "[\n", "\n]\n").finished().read_bytes() == b"[\n\n]\n"


def test_another_file_is_added_with_its_tail(tmp_path: Path) -> None:
    whole, part = TextFile(tmp_path / "whole"), TextFile(tmp_path / "part", "b", "d")
    assert whole.write("a") == 1
    part.write("c\n")
    whole.append(part)
    assert whole.finished().read_bytes() == b"abc\nd"


def test_numbers_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        TextFile(tmp_path / "a").item(float("nan"))
