"""What is said of a dump's drift."""

from typing import Any

import pytest

from flows.reporting.drift_lines import drift_lines, drift_sentence
from stego_core.scores.drift import verdict


@pytest.fixture
def document() -> dict[str, Any]:
    """A status of a training dump, one that looks alike, and one that does not."""
    drifts = {"old": None, "half": verdict(0.01, 0.002, 60), "dusk": verdict(1.26, 0.055, 60)}
    return {"workspace": "s3://b/ws", "dumps": {dump: {"drift": d} for dump, d in drifts.items()}}


def test_a_line_for_each_dump_that_was_measured(document: dict[str, Any]) -> None:
    (half, _), (dusk, drifted) = drift_lines(document)
    assert half.startswith("drift half: features 0.01 (threshold")
    assert half.endswith("; like the training images")
    assert dusk.endswith("train again with it: stego retrain --workspace s3://b/ws")
    assert drifted


def test_some_dumps_alone(document: dict[str, Any]) -> None:
    assert [drifted for _, drifted in drift_lines(document, ["half", "old"])] == [False]
    assert list(drift_lines(document, [])) == []


def test_few_images_have_no_verdict() -> None:
    assert "too few images to judge, fewer than 20" in drift_sentence(verdict(9.0, None, 3), "ws")
    assert "shares – (threshold" in drift_sentence(verdict(9.0, None, 3), "ws")


def test_figures_of_older_workspaces_were_judged() -> None:
    older = {k: v for k, v in verdict(0.1, 0.01, 60).items() if k != "judged"}
    assert drift_sentence(older, "ws").endswith("like the training images")
