"""The stages that a run of the page will go through, how long each may take, and what is left."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from flows.explorer.home.run_request import RETRAIN, TEACH, Order

TRAINED = ("head", "codes", "k-means", "clusters")
"""Stages of all dumps together."""
RAW = "(raw features)"
"""What the title of a baseline's stage ends with."""
LOW, HIGH = 0.7, 1.8
"""What a time may turn out to be, as a share of what was predicted: other work on the machine, and
images unlike those that were tried."""

Range = tuple[float, float]
Seconds = Mapping[str, float | None]


class Planned(NamedTuple):
    """A stage to come, by the title that its progress will have; None: nobody knows how long."""

    title: str
    seconds: float | None = None


class Shown(Protocol):
    """How far a stage is: units that are done, of these `before` by an earlier run."""

    title: str
    done: int
    total: int
    before: int
    seconds: float
    finished: bool


def planned(order: Order, dumps: Sequence[str], seconds: Seconds, scored: bool) -> list[Planned]:
    """The stages to come, in order.

    Args:
        order: the run.
        dumps: those of the workspace, for a retraining.
        seconds: by a stage's title, or by its name alone.
        scored: whether the images of a first run have labels.
    """
    names = titles(order, dumps)
    if scored and order.kind == "run":
        names += _scoring(order)
    return [Planned(name, seconds.get(name, seconds.get(_name(name)))) for name in names]


def titles(order: Order, dumps: Sequence[str]) -> list[str]:
    """Titles of the stages to come; those that only videos and labels bring are not among them."""
    dump = order.dump
    if order.kind == "backfill":
        return [f"{stage} {dump}" for stage in ("corpus", "features", "neighbors", "masks")]
    if order.kind == TEACH:
        return [f"masks {name}" for name in dumps]
    trained = dumps if order.kind == RETRAIN else [dump]
    corpus = [] if order.kind == RETRAIN else [f"corpus {dump}"]
    features, neighbors, masks = (
        [f"{stage} {name}" for name in trained] for stage in ("features", "neighbors", "masks")
    )
    return [*corpus, *features, *neighbors, *TRAINED, *masks]


def _scoring(order: Order) -> list[str]:
    """What a labelled dump's scores cost; the linear probe is small beside them."""
    raw = [f"masks {order.dump} {RAW}"] if order.options.scores.baseline else []
    return [*raw, f"scores {order.dump}"]


def _name(title: str) -> str:
    """The stage's name, with what tells a baseline's from it."""
    return f"{title.split(' ')[0]}{f' {RAW}' if title.endswith(RAW) else ''}"


def span(seconds: Sequence[float | None]) -> Range | None:
    """Between how many seconds some stages may take together; None if one is not known."""
    known = [each for each in seconds if each is not None]
    return (LOW * sum(known), HIGH * sum(known)) if len(known) == len(seconds) else None


def left(stages: Sequence[Planned], shown: Sequence[Shown]) -> Range | None:
    """Between how many seconds are left of a run; None where a stage that is left is not known.

    Of the stage that runs, the pace so far counts; stages before the last one that was seen are
    done.
    """
    by_title = {each.title: each for each in shown}
    seen = max((at for at, stage in enumerate(stages) if stage.title in by_title), default=-1)
    rest = [stage.seconds for stage in stages[seen + 1 :]]
    running = [each for each in shown if not each.finished]
    expected = {stage.title: stage.seconds for stage in stages}
    return span([*(stage_left(each, expected.get(each.title)) for each in running), *rest])


def stage_left(stage: Shown, expected: float | None) -> float | None:
    """Seconds until the end of a stage, at its pace so far or, before there is one, as expected."""
    computed = stage.done - stage.before
    if computed > 0:
        return (stage.total - stage.done) * stage.seconds / computed
    if expected is None:
        return None
    return expected * (stage.total - stage.done) / max(stage.total, 1)
