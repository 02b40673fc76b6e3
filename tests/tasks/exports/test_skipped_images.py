"""The list of what an export leaves out."""

import json
from pathlib import Path

import pytest

from tasks.exports import skipped_images
from tasks.exports.scratch_files import TextFile
from tasks.exports.skipped_images import SkippedImages


def test_all_are_in_the_manifest_and_the_first_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipped_images, "IN_MEMORY", 2)
    skipped = SkippedImages(TextFile(tmp_path / "skipped"))
    assert skipped.example() == "none was there"
    for number, dump in enumerate(("day", "night", "day")):
        skipped.add(dump, f"{number}.png", "broken")
    assert [row["path"] for row in skipped.first] == ["0.png", "1.png"]
    assert skipped.counts == {"day": 2, "night": 1}
    assert skipped.example() == "day/0.png: broken"
    path = skipped.write_manifest(TextFile(tmp_path / "manifest"), {"format": "masks"})
    document = json.loads(path.read_text())
    assert document["format"] == "masks"
    assert [row["path"] for row in document["skipped"]] == ["0.png", "1.png", "2.png"]


def test_an_empty_list_is_in_the_manifest_too(tmp_path: Path) -> None:
    skipped = SkippedImages(TextFile(tmp_path / "skipped"))
    path = skipped.write_manifest(TextFile(tmp_path / "manifest"), {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1, "skipped": []}
