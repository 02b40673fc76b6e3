"""Which images follow one another: the frames of a clip, and image files numbered like frames."""

import re
from array import array
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
"""Usual steps by which the numbers of neighbouring frames differ at most."""
REGULAR = 0.5
"""Least share of a folder's steps that are the usual one: photographs of a collection have
numbers too, but no regular ones."""
NONE = -1
"""Row where no frame comes before or after."""


class FramePosition(NamedTuple):
    """Position of an image in a possible sequence.

    Attributes:
        sequence: name of the sequence.
        number: of the image in it; milliseconds of a clip.
        clip: whether it was cut from a video, so that the sequence is certain.
    """

    sequence: str
    number: int
    clip: bool = False


class Links(NamedTuple):
    """The rows before and after each row.

    Attributes:
        previous: (N,) int64 rows, NONE where a sequence begins or there is none.
        following: (N,) int64 rows, NONE where a sequence ends.
    """

    previous: NDArray[np.int64]
    following: NDArray[np.int64]

    def around(self, row: int, reach: int) -> list[int]:
        """Up to `reach` rows before a row and as many after it, the nearest first."""
        rows = []
        for direction in self:
            current, count = int(direction[row]), 0
            while current != NONE and count < reach:
                rows.append(current)
                current, count = int(direction[current]), count + 1
        return rows


def sample(start: Fraction, end: Fraction, rate: Fraction) -> int | None:
    """The first k for which a frame is on display at k / rate; None if there is none.

    The frame appears at `start`, the next one at `end`, in seconds; `rate` is moments per second.
    """
    first = max(ceil(start * rate), 0)
    return first if first < end * rate else None


def numbered(path: str) -> FramePosition | None:
    """The position that a file's name states; None if the name has no number.

    Files of a sequence have the same folder and the same name except for the last NUMBER.
    """
    name = PurePosixPath(path)
    numbers = list(NUMBER.finditer(name.stem))
    if not numbers:
        return None
    before, after = name.stem[: numbers[-1].start()], name.stem[numbers[-1].end() :]
    return FramePosition(f"{name.parent}/{before}#{after}{name.suffix}", int(numbers[-1].group()))


def linked(positions: Iterable[FramePosition | None]) -> Links:
    """Which row follows which.

    Frames of a clip follow one another in order of time. Numbered images do where at least half
    (REGULAR) of the steps between their sorted numbers are the same, the usual step, and the step
    between the two is at most GAP times that. A row whose position is None belongs to no sequence.
    """
    sequences: dict[tuple[str, bool], int] = {}
    rows, numbers, ids, count = array("q"), array("q"), array("q"), 0
    for count, position in enumerate(positions, start=1):
        if position is not None:
            rows.append(count - 1)
            numbers.append(position.number)
            ids.append(sequences.setdefault((position.sequence, position.clip), len(sequences)))
    order = np.lexsort((rows, numbers, ids))
    by_sequence = np.split(order, np.flatnonzero(np.diff(np.asarray(ids)[order])) + 1)
    links = Links(np.full(count, NONE, np.int64), np.full(count, NONE, np.int64))
    for (_, clip), members in zip(sequences, by_sequence, strict=False):
        sorted_rows, steps = np.asarray(rows)[members], np.diff(np.asarray(numbers)[members])
        follows = steps > 0 if clip else _follow(steps)
        links.following[sorted_rows[:-1][follows]] = sorted_rows[1:][follows]
        links.previous[sorted_rows[1:][follows]] = sorted_rows[:-1][follows]
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
