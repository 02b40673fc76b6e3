"""Which values become black and white: what the counts of a corpus's values decide."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stego_core.errors import OptionError
from stego_core.images.rendering import BYTE, Form, ValueRange
from stego_core.images.value_counts import Counts, summed

LOW = 0.001
"""Share of the corpus's values that become black, where the least value is an outlier."""
HIGH = 0.999
"""Share of the values that do not become white, where the greatest value is an outlier."""
FAR = 0.1
"""An extreme that lies further outside of those two, as a share of their span, is an outlier."""
USED = 0.5
"""A range that the file states or that is usual counts if values reach this share of it."""
STEP = 257
"""Factor by which eight bits fill sixteen."""
EXTREME = 8
"""Levels of 255 that transparency may lie from nothing or from all and still count as that."""
MIDDLE = 0.5
"""A band is transparency if a larger share of its values is extreme; a picture's band seldom is."""
DARK = 8
"""Greatest level of almost black."""
BRIGHT = 247
"""Least level of almost white."""
NEARLY = 0.99
"""Share of dark or bright values that makes a corpus almost black or almost white."""


class RangeChoice(NamedTuple):
    """A range, and where it comes from, for people."""

    span: ValueRange
    how: str


def choose_range(counts: Counts, form: Form, stated: ValueRange | None) -> RangeChoice:
    """The range of `--value-range auto`, by the counts of all values with data.

    Eight bits are levels already. A range that the files state, or that is usual for numbers of
    their kind, counts where the values use it. Otherwise the corpus decides: the range ends at its
    extremes, unless these are outliers, and black is zero where no value lies below zero and the
    least one lies close above.
    """
    if form.dtype == "uint8" and form.bits == 8 and not form.scaled:
        return RangeChoice(BYTE, "as they are")
    if not counts.total:
        return RangeChoice(form.full or (0.0, 1.0), "no value to go by")
    widened = len(counts.keys) > 1 and not (counts.keys % STEP).any()
    if form.whole and form.bits == 16 and widened:
        return RangeChoice((0.0, 65535.0), "eight bits widened to sixteen")
    high = counts.quantile(HIGH)
    for span, how in _usual(form, stated):
        inside = span[0] <= counts.least and counts.greatest <= span[1]
        if inside and high >= span[0] + USED * (span[1] - span[0]):
            return RangeChoice(span, how)
    return _of_corpus(counts)


def _usual(form: Form, stated: ValueRange | None) -> list[tuple[ValueRange, str]]:
    """Ranges that files of a form usually have, the most certain first."""
    usual = [] if stated is None else [(stated, "as the files state it")]
    if form.full is None:
        return [*usual, ((0.0, 1.0), "shares of 1"), (BYTE, "levels of 255")]
    if form.dtype.startswith("uint"):
        usual.append((form.full, f"all of {form.bits} bits"))
    return usual


def _of_corpus(counts: Counts) -> RangeChoice:
    low, high = counts.quantile(LOW), counts.quantile(HIGH)
    reach = FAR * (high - low)
    lowest, highest = low - counts.least <= reach, counts.greatest - high <= reach
    low, high = counts.least if lowest else low, counts.greatest if highest else high
    if counts.least >= 0 and low <= FAR * high:
        low = 0.0
    if high <= low:  # it becomes black
        return RangeChoice((low, low + max(abs(low), 1.0)), "one value only")
    whole = "least to greatest value of the corpus"
    return RangeChoice(
        (low, high), whole if lowest and highest else "0.1 to 99.9 % of the corpus's values"
    )


def stated_range(form: Form, stated: ValueRange | None) -> RangeChoice:
    """The range of `--value-range file`: as the files state it, else all that their bits hold."""
    if stated is not None:
        return RangeChoice(stated, "as the files state it")
    if form.full is not None:
        return RangeChoice(form.full, f"all of {form.bits} bits")
    return RangeChoice((0.0, 1.0), "shares of 1; the files state no range")


def parsed_range(option: str) -> ValueRange | None:
    """The range of `--value-range LOW,HIGH`; None of auto and file.

    Raises:
        OptionError: it is something else.
    """
    if option in {"auto", "file"}:
        return None
    try:
        low, high = (float(part) for part in option.split(","))
    except ValueError:
        raise OptionError(
            f"--value-range {option!r} is neither auto, file nor two numbers; write for example "
            "0,3000"
        ) from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise OptionError(f"--value-range {option}: the first number must be below the second")
    return low, high


def parsed_bands(option: str | None) -> tuple[int, ...] | None:
    """The bands of `--bands 4,3,2`; None where none are given.

    Raises:
        OptionError: they are not one or three whole numbers from 1.
    """
    if option is None:
        return None
    parts = [part.strip() for part in option.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts) or len(parts) not in {1, 3}:
        raise OptionError(
            f"--bands {option!r} is neither one nor three numbers of bands, from 1; write for "
            "example 4,3,2"
        )
    return tuple(map(int, parts))


def ranges(
    counts: Sequence[Counts], form: Form, stated: ValueRange | None, option: str, one: bool
) -> tuple[tuple[ValueRange, ...], str]:
    """The range of each band shown by --value-range, and where it is from.

    `one` range for all bands keeps the balance of colours; bands of different units have their own.
    """
    if not one and option == "auto":
        choices = [choose_range(of_band, form, stated) for of_band in counts]
        return tuple(choice.span for choice in choices), f"each band by itself, {choices[0].how}"
    if (numbers := parsed_range(option)) is not None:
        span, how = numbers, "as given"
    elif option == "file":
        span, how = stated_range(form, stated)
    else:
        span, how = choose_range(summed(counts), form, stated)
    return (span,) * len(counts), how


def is_transparency(alpha: Counts, full: float) -> bool:
    """Whether a band that a TIFF calls transparency is that; `full` is its greatest possible value.

    Writers give the fourth band of four this name by default, also if it holds near infrared. Real
    transparency is nothing or all in most pixels, and all in some.
    """
    edge = full * EXTREME / 255
    extreme = alpha.share(-np.inf, edge) + alpha.share(full - edge, np.inf)
    return alpha.greatest >= full - edge and extreme > MIDDLE


def remark(levels: Counts) -> str | None:
    """What is wrong with a corpus's pictures, by the counts of their levels; None: nothing is."""
    if not levels.total:
        return None
    if levels.least == levels.greatest:
        return (
            f"every pixel has the level {levels.least:.0f} of 255: there is nothing to tell apart"
        )
    for colour, low, high in (("black", 0, DARK), ("white", BRIGHT, 255)):
        if (share := levels.share(low, high)) >= NEARLY:
            return f"the pictures are almost {colour}: {100 * share:.1f} % of their levels"
    return None
