"""Figures of a dump over several seeds."""

from pathlib import Path

import pytest

from tasks.scores.spread import spread_over_seeds, two_digits
from tasks.workspace.workspace import Workspace


def test_figures_that_some_seed_lacks_are_left_out(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path / "ws"))
    for key, miou, linear in (("one", 40.0, 70.0), ("two", 43.0, None)):
        scores = {"miou": miou, "linear_miou": linear, "per_class": {"sky": miou}}
        workspace.folder("scores", key, "dump").finish({"scores": scores})
    spread = spread_over_seeds(workspace, "dump", {0: "one", 7: "two"})
    assert spread["seeds"] == [0, 7]
    assert set(spread) == {"seeds", "miou"}
    assert spread["miou"]["mean"] == 41.5
    assert spread["miou"]["std"] == pytest.approx(2.12)  # of a sample: 3 / √2
    assert (spread["miou"]["least"], spread["miou"]["greatest"]) == (40.0, 43.0)


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path / "ws"))
    workspace.folder("scores", "one", "dump").finish({"scores": {"miou": 40.0}})
    assert spread_over_seeds(workspace, "dump", {0: "one"})["miou"]["std"] is None


def test_what_is_not_a_number_is_none() -> None:
    assert two_digits(float("nan")) is None
    assert two_digits(12.346) == 12.35
