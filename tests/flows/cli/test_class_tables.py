"""What the terminal shows of classes and of uncertain images, in figures counted by hand."""

from typing import Any

import pytest

from flows.cli import class_tables
from stego_core.labels.class_names import ClassNames, Proposal
from tasks.class_names.classes_file import NamedClasses
from tasks.masks.confidence_table import UncertainImage

Captured = pytest.CaptureFixture[str]


def lines(capsys: Captured) -> list[str]:
    return [
        " ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.split("\n")
    ]


def entry(number: int, shown_as: int, share: float) -> dict[str, Any]:
    name = {"id": number, "name": f"c{number}", "colour": "#102030"}
    return {**name, "shown_as": shown_as, "share": share}


def test_uncertain_images_are_in_percent(capsys: Captured) -> None:
    image = UncertainImage("[train]", 3, "id", "a/b.png", 0.0123, 0.5, 0.25)
    class_tables.show_uncertain([image])
    assert "[train] a/b.png 1.23 50.0 25.0" in lines(capsys)


def test_classes_tell_what_they_count_as(capsys: Captured) -> None:
    entries = [entry(0, 0, 0.5), entry(1, 0, 0.25), entry(2, 255, 0.25)]
    class_tables.show_classes({"revision": 2, "note": "merged", "classes": entries})
    shown = lines(capsys)
    assert any("classes, revision 2: merged" in line for line in shown)
    assert "0 c0 ██ #102030 50.0" in shown
    assert "1 c1 ██ #102030 c0 25.0" in shown
    assert "2 c2 ██ #102030 ignored 25.0" in shown


def test_proposals_without_a_label_have_no_support(capsys: Captured) -> None:
    class_tables.show_proposals([Proposal(0, "sky", 0.75, 1234), Proposal(1, None, 0.0, 0)], 0.5)
    shown = lines(capsys)
    assert "0 sky 75 1,234" in shown
    assert "1 no labelled pixel 0" in shown


def test_history_or_that_there_is_none(capsys: Captured) -> None:
    class_tables.show_history([])
    assert "never edited" in capsys.readouterr().err
    class_tables.show_history([NamedClasses("key", 12, "0 road ignored", ClassNames(()))])
    assert capsys.readouterr().out == "  12  0 road ignored\n"
