"""Which images follow one another, and which frame is on display when."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_core.video.frame_order import NONE, FramePosition, linked, numbered, sample

TIMES = st.fractions(0, 20, max_denominator=60)


@given(TIMES, TIMES, st.fractions(Fraction(1, 4), 60, max_denominator=7))
def test_sample_is_the_first_moment_on_display(
    start: Fraction, length: Fraction, rate: Fraction
) -> None:
    moments = [k for k in range(2500) if start <= k / rate < start + length]
    assert sample(start, start + length, rate) == (moments[0] if moments else None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("0016E5_08063.png", FramePosition("./0016E5_#.png", 8063)),
        ("a/b/12.jpg", FramePosition("a/b/#.jpg", 12)),
        ("ulm_000000_000019_leftImg8bit.png", FramePosition("./ulm_000000_#_leftImg8bit.png", 19)),
        ("v1.2_0003 (copy).png", FramePosition("./v1.2_# (copy).png", 3)),
        ("photo.png", None),
        ("frame12a.png", None),
        ("1" * 19 + ".png", None),
    ],
)
def test_numbers_in_names(path: str, expected: FramePosition | None) -> None:
    assert numbered(path) == expected


def chain(names: list[str]) -> list[list[str]]:
    """Sequences of at least two images."""
    links = linked(map(numbered, names))
    found = []
    for row, before in enumerate(links.previous):
        if before == NONE and links.following[row] != NONE:
            found.append([names[row]])
            while (row := int(links.following[row])) != NONE:
                found[-1].append(names[row])
    return found


def test_sequences_of_numbered_files() -> None:
    frames = [f"a/f{number}.png" for number in (1, 10, 11, 2, 3, 4, 20)]
    assert chain(["a/other.png", *frames, "b/f5.png", "a/f5.jpg"]) == [
        ["a/f1.png", "a/f2.png", "a/f3.png", "a/f4.png"],
        ["a/f10.png", "a/f11.png"],
    ]


def test_steps_of_two_and_gaps() -> None:
    numbers = [0, 2, 4, 10, 12, 19, 21]  # the usual step is 2, so up to 6 is a gap
    names = [f"{number:03d}.png" for number in numbers]
    assert chain(names) == [names[:5], names[5:]]


def test_photographs_of_a_collection_are_no_sequence() -> None:
    numbers = (9, 25, 30, 34, 36, 42, 49, 61, 64, 71, 72, 73)
    assert chain([f"{number:012d}.jpg" for number in numbers]) == []


def test_equal_numbers_are_no_sequence() -> None:
    assert chain(["a1.png", "a01.png"]) == []


def test_frames_of_a_clip_are_one_whatever_their_times() -> None:
    times = [0, 1000, 5000, 90000]
    positions = [FramePosition("a.mp4", t, True) for t in times] + [
        FramePosition("b.mp4", 0, True),
        None,
    ]
    links = linked(positions)
    np.testing.assert_array_equal(links.following, [1, 2, 3, NONE, NONE, NONE])
    np.testing.assert_array_equal(links.previous, [NONE, 0, 1, 2, NONE, NONE])
    assert links.around(1, 2) == [0, 2, 3]
    assert links.around(1, 1) == [0, 2]
    assert links.around(4, 3) == []
