"""Which stages a run goes through, how long they take, and what is left of them."""

import pytest

from flows.explorer.home.run_job import StageShown
from flows.explorer.home.run_request import RunRequest, Setup
from flows.explorer.times import planned
from flows.explorer.times.planned import HIGH, LOW, Planned


def titles(*dumps: str, **asked: str) -> list[str]:
    return planned.titles(Setup("/ws").order(RunRequest(**asked)), dumps)  # type: ignore[arg-type]


def test_of_a_run_and_of_more_images() -> None:
    assert titles(images="/photos") == [
        "corpus photos", "features photos", "neighbors photos", "head", "codes", "k-means",
        "clusters", "masks photos",
    ]  # fmt: skip
    assert titles("first", images="/photos", kind="backfill") == [
        "corpus photos", "features photos", "neighbors photos", "masks photos",
    ]  # fmt: skip


def test_of_a_retraining_on_all_dumps() -> None:
    assert titles("a", "b", kind="retrain") == [
        "features a", "features b", "neighbors a", "neighbors b", "head", "codes", "k-means",
        "clusters", "masks a", "masks b",
    ]  # fmt: skip


def test_seconds_are_found_by_title_or_by_name() -> None:
    order = Setup("/ws").order(RunRequest(images="/photos"))
    seconds = {"masks photos": 5.0, "masks": 9.0, "head": 7.0, "masks (raw features)": 3.0}
    stages = planned.planned(order, [], seconds, scored=True)
    known = {stage.title: stage.seconds for stage in stages if stage.seconds is not None}
    assert known == {"head": 7.0, "masks photos": 5.0, "masks photos (raw features)": 3.0}
    assert [stage.title for stage in stages][-1] == "scores photos"
    plain = Setup("/ws", {"scores": {"baseline": False}}).order(RunRequest(images="/photos"))
    assert [s.title for s in planned.planned(plain, [], {}, scored=True)][-2:] == [
        "masks photos", "scores photos",
    ]  # fmt: skip


def test_a_sum_is_as_unknown_as_its_parts() -> None:
    assert planned.span([10.0, 30.0]) == pytest.approx((40 * LOW, 40 * HIGH))
    assert planned.span([10.0, None]) is None


def shown(title: str, done: int, seconds: float, before: int = 0, total: int = 100) -> StageShown:
    stage = StageShown(title, done, total, "images", "", before)
    stage.seconds, stage.finished = seconds, done == total
    return stage


PLAN = [Planned("corpus a", 10.0), Planned("features a", 50.0), Planned("head", 20.0)]


@pytest.mark.parametrize(
    ("stages", "seconds"),
    [
        ([], 80.0),
        ([shown("corpus a", 100, 9.0)], 70.0),
        # 20 of 100 were there before, and 40 took 30 s: 40 more take as long; then the head.
        ([shown("corpus a", 100, 9.0), shown("features a", 60, 30.0, before=20)], 30.0 + 20.0),
        # Nothing is computed yet: as predicted, but for what was there before.
        ([shown("features a", 20, 3.0, before=20)], 40.0 + 20.0),
        # Of a stage that nobody foresaw, the pace counts as well.
        ([shown("corpus a", 100, 9.0), shown("frames a", 50, 7.0)], 7.0 + 70.0),
        # What is passed over was there before.
        ([shown("head", 50, 5.0)], 5.0),
        ([shown("head", 100, 5.0)], 0.0),
    ],
)
def test_what_is_left(stages: list[StageShown], seconds: float) -> None:
    assert planned.left(PLAN, stages) == pytest.approx((seconds * LOW, seconds * HIGH))


def test_what_is_left_is_unknown() -> None:
    assert planned.left([*PLAN, Planned("masks a")], []) is None
    assert planned.left(PLAN, [shown("frames a", 0, 3.0)]) is None
    assert planned.left([Planned("head")], [shown("head", 50, 5.0)]) is not None
