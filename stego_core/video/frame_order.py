"""Which images follow one another: the frames of a clip, and image files numbered like frames."""

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from math import ceil
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUMBER = re.compile(r"(?<!\d)\d{1,18}(?![0-9A-Za-z])")
"""What may be a frame's number; digits directly before a letter are part of a word (`8bit`)."""
GAP = 3
"""Two frames follow one another if their numbers differ by at most so many usual steps."""
REGULAR = 0.5
"""Least share of a folder's steps that are the usual one: photographs of a collection have
numbers too, but no regular ones."""
NONE = -1


class Place(NamedTuple):
    """Where an image stands in what may be a sequence.

    Attributes:
        sequence: what its images have in common.
        number: its place among them; milliseconds of a clip.
        clip: whether it was cut from a video, so that nothing has to be guessed.
    """

    sequence: str
    number: int
    clip: bool = False


class Links(NamedTuple):
    """What comes before and after each row.

    Attributes:
        previous: (N,) int64 rows, NONE where a sequence begins or there is none.
        following: (N,) int64 rows, NONE where a sequence ends.
    """

    previous: NDArray[np.int64]
    following: NDArray[np.int64]

    def around(self, row: int, reach: int) -> list[int]:
        """Up to `reach` rows before a row and as many after it, the nearest first."""
        found = []
        for direction in self:
            at = row
            for _ in range(reach):
                at = int(direction[at])
                if at == NONE:
                    break
                found.append(at)
        return found


def sample(start: Fraction, end: Fraction, rate: Fraction) -> int | None:
    """The first k of those moments k / rate at which a frame is on display; None if there is none.

    Args:
        start: seconds at which the frame appears.
        end: seconds at which the next one does.
        rate: moments per second.
    """
    first = max(ceil(start * rate), 0)
    return first if first < end * rate else None


def numbered(path: str) -> Place | None:
    """The place that a file's name gives it: same folder, same name but for its last NUMBER.

    None where there is no number.
    """
    name = PurePosixPath(path)
    found = list(NUMBER.finditer(name.stem))
    if not found:
        return None
    before, after = name.stem[: found[-1].start()], name.stem[found[-1].end() :]
    return Place(f"{name.parent}/{before}#{after}{name.suffix}", int(found[-1].group()))


def linked(places: Iterable[Place | None]) -> Links:
    """Which row follows which.

    Frames of a clip follow one another in order of time. Numbered images do where at least half
    (REGULAR) of the steps between their sorted numbers are the same, the usual step, and the step
    between the two is at most GAP times that.

    Args:
        places: of each row; None belongs to no sequence.
    """
    members: dict[tuple[str, bool], tuple[array[int], array[int]]]
    members = defaultdict(lambda: (array("q"), array("q")))
    count = 0
    for row, place in enumerate(places):
        count += 1
        if place is not None:
            numbers, rows = members[place.sequence, place.clip]
            numbers.append(place.number)
            rows.append(row)
    links = Links(np.full(count, NONE, np.int64), np.full(count, NONE, np.int64))
    for (_, clip), pair in members.items():
        numbers_, rows_ = (np.frombuffer(each, np.int64) for each in pair)
        order = np.lexsort((rows_, numbers_))
        ordered, steps = rows_[order], np.diff(numbers_[order])
        follows = steps > 0 if clip else _follow(steps)
        links.following[ordered[:-1][follows]] = ordered[1:][follows]
        links.previous[ordered[1:][follows]] = ordered[:-1][follows]
    return links


def _follow(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which steps lead from a frame to the next one."""
    positive = steps[steps > 0]
    if not len(positive):
        return np.zeros(len(steps), np.bool_)
    values, counts = np.unique(positive, return_counts=True)
    usual = values[counts.argmax()]
    regular = counts.max() >= REGULAR * len(positive)
    return np.asarray((steps > 0) & (steps <= GAP * usual) & regular)
