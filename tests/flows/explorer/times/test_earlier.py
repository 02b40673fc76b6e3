"""Seconds of stages from those of the run before, counted by hand."""

from typing import Any

import pytest

from flows.explorer.times.earlier import Earlier, Pace
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


def took(rows: int, wall: float, **more: Any) -> dict[str, Any]:
    """A manifest of a stage of four shards."""
    return {"rows": rows, "shards": 4, "seconds": {"wall": wall, "shards_computed": 4}, **more}


@pytest.fixture
def summary(tmp_path: Any) -> Summary:
    """A dump of 10 images that was trained on, and one of 30 without features."""
    made = Workspace.create(str(tmp_path / "ws"))
    for sequence, (dump, images) in enumerate({"day": 10, "night": 30}.items()):
        facts = {"sequence": sequence, "images": images}
        made.corpus(dump).finish(took(images, images * 1.0, **facts))
        made.folder(layout.masks("m", dump)).finish(took(images, images * 4.0))
    made.folder(layout.features("f", "day")).finish(took(50, 20.0, images=10))
    made.folder(layout.neighbors("n", "day")).finish(took(50, 5.0))
    made.folder(layout.head("h")).finish(took(400, 80.0))
    made.folder(layout.clusters("c")).finish(took(1, 3.0))
    made.folder(layout.codes(layout.clusters("c"))).finish(took(50, 10.0))
    made.folder(layout.restarts(layout.clusters("c"))).finish(took(30, 15.0))
    keys = {"masks": "m", "features": "f", "head": "h", "clusters": "c"}
    made.update_last_run(keys=keys, neighbors={"day": "n"}, dumps=["day"])
    return Summary(made)


def test_more_images_cost_as_many_as_there_are(summary: Summary) -> None:
    """5 crops an image, of which one takes 0.1 s to compare."""
    assert Earlier.of(summary).of_more(20) == pytest.approx(
        {"corpus": 20.0, "features": 40.0, "masks": 80.0, "neighbors": 100 * 0.1}
    )


def test_a_retraining_embeds_what_was_not(summary: Summary) -> None:
    seconds = Earlier.of(summary).of_retraining()
    assert seconds == pytest.approx({
        "features day": 0.0, "features night": 60.0,
        "masks day": 40.0, "masks night": 120.0,
        "neighbors day": 50 * 0.1, "neighbors night": 150 * 0.1,
        "head": 80.0, "k-means": 15.0, "clusters": 3.0, "codes": 200 * 10.0 / 50,
    })  # fmt: skip


def test_a_run_that_went_on_with_another_computed_a_part() -> None:
    """Two of four shards, of 40 rows, took 10 s: all of them take 20."""
    pace = Pace()
    pace.add(took(40, 10.0) | {"seconds": {"wall": 10.0, "shards_computed": 2}})
    assert pace.of(80) == pytest.approx(40.0)
    pace.add(took(40, 7.0) | {"seconds": {"wall": 0.1, "shards_computed": 0}})
    pace.add(None)
    pace.add({"rows": 7, "shards": 1})
    assert pace.of(80) == pytest.approx(40.0)


def test_nothing_is_known_of_an_empty_workspace(tmp_path: Any) -> None:
    empty = Earlier.of(Summary(Workspace.create(str(tmp_path / "ws"))))
    assert set(empty.of_more(5).values()) == {None}
    assert Pace().of(0) is None
