"""Which values become black and white: what the counts of a corpus's values decide."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stego_core.errors import OptionError
from stego_core.images.rendering import BYTE, Form, ValueRange
from stego_core.images.value_counts import Counts, summed

LOW, HIGH = 0.001, 0.999
"""Shares of the corpus's values below black and below white, where extremes lie far from them."""
FAR = 0.1
"""Extremes further than this share of the span outside of those two are outliers."""
USED = 0.5
"""A range that the file states or that is usual counts if values reach this share of it."""
STEP = 257
"""What eight bits are multiplied by to fill sixteen."""
EXTREME, MIDDLE = 8, 0.5
"""A band is transparency if more than this share of its values lie within so many levels of 255 of
nothing or all; a picture's own band seldom does."""
DARK, BRIGHT, NEARLY = 8, 247, 0.99
"""Levels of almost black and almost white, and the share of values that makes a corpus so."""


class RangeChoice(NamedTuple):
    """A range, and where it is from."""

    span: ValueRange
    how: str


def choose_range(counts: Counts, form: Form, stated: ValueRange | None) -> RangeChoice:
    """The range of `--value-range auto`.

    Eight bits are levels as they are. A range that the files state, or that is usual for numbers of
    their kind, counts where the values use it. Else it is that of the corpus: its extremes, unless
    they are outliers, and black is zero where nothing lies below and little above it.

    Args:
        counts: of all values with data.
        form: of the files.
        stated: least and greatest value as the files state them.
    """
    if form.dtype == "uint8" and form.bits == 8 and not form.scaled:
        return RangeChoice(BYTE, "as they are")
    if not counts.total:
        return RangeChoice(form.full or (0.0, 1.0), "no value to go by")
    if form.whole and form.bits == 16 and _is_widened(counts):
        return RangeChoice((0.0, 65535.0), "eight bits widened to sixteen")
    high = counts.quantile(HIGH)
    for span, how in _usual(form, stated):
        inside = span[0] <= counts.least and counts.greatest <= span[1]
        if inside and high >= span[0] + USED * (span[1] - span[0]):
            return RangeChoice(span, how)
    return _of_corpus(counts)


def _is_widened(counts: Counts) -> bool:
    return len(counts.keys) > 1 and not (counts.keys % STEP).any()


def _usual(form: Form, stated: ValueRange | None) -> list[tuple[ValueRange, str]]:
    """Ranges that may be meant, the most certain first."""
    found: list[tuple[ValueRange, str]] = []
    if stated is not None:
        found.append((stated, "as the files state it"))
    if form.full is not None and form.dtype.startswith("uint"):
        found.append((form.full, f"all of {form.bits} bits"))
    if form.full is None:
        found += [((0.0, 1.0), "shares of 1"), (BYTE, "levels of 255")]
    return found


def _of_corpus(counts: Counts) -> RangeChoice:
    low, high = counts.quantile(LOW), counts.quantile(HIGH)
    reach = FAR * (high - low)
    how = "least to greatest value of the corpus"
    if low - counts.least <= reach:
        low = counts.least
    else:
        how = "0.1 to 99.9 % of the corpus's values"
    if counts.greatest - high <= reach:
        high = counts.greatest
    else:
        how = "0.1 to 99.9 % of the corpus's values"
    if counts.least >= 0 and low <= FAR * high:
        low = 0.0
    if high <= low:  # one value only: black, and told
        high = low + max(abs(low), 1.0)
        how = "one value only"
    return RangeChoice((low, high), how)


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
    """The range of each band shown, and where it is from.

    Args:
        counts: of each band.
        form, stated: as in `chosen`.
        option: of --value-range.
        one: whether all bands have one range, so that the balance of colours stays; bands of
            different units have their own.
    """
    if (given := parsed_range(option)) is not None:
        return (given,) * len(counts), "as given"
    if option == "file":
        span, how = stated_range(form, stated)
        return (span,) * len(counts), how
    if one:
        span, how = choose_range(summed(counts), form, stated)
        return (span,) * len(counts), how
    found = [choose_range(each, form, stated) for each in counts]
    return tuple(each.span for each in found), f"each band by itself, {found[0].how}"


def is_transparency(alpha: Counts, full: float) -> bool:
    """Whether a band that a TIFF calls transparency is that.

    Writers give the fourth band of four this name by default, and put near infrared there. Real
    transparency is nothing or all nearly everywhere, and all somewhere.

    Args:
        alpha: counts of its values.
        full: its greatest possible value.
    """
    edge = full * EXTREME / 255
    extreme = alpha.share(-np.inf, edge) + alpha.share(full - edge, np.inf)
    return alpha.greatest >= full - edge and extreme > MIDDLE


def remark(seen: Counts) -> str | None:
    """What is wrong with the pictures of a corpus, from the counts of their levels; None if
    nothing is.
    """
    if not seen.total:
        return None
    if seen.least == seen.greatest:
        return f"every pixel has the level {seen.least:.0f} of 255: there is nothing to tell apart"
    if seen.share(0, DARK) >= NEARLY:
        return f"the pictures are almost black: {100 * seen.share(0, DARK):.1f} % of their levels"
    if seen.share(BRIGHT, 255) >= NEARLY:
        share = 100 * seen.share(BRIGHT, 255)
        return f"the pictures are almost white: {share:.1f} % of their levels"
    return None
