"""What the numbers of a dump's files are, form by form: counts that add up in any order."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.rendering import Block, Form, Picture, Rendering, ValueRange, form_of
from stego_core.images.value_counts import Counts, on_levels, summed
from tasks.images import rendering

SAMPLE_PIXELS = 2**20
"""Pixels of an ordinary picture that are looked at, about."""
ALPHA_STEPS = 65535
"""Transparency is counted in so many steps, whatever its type."""


@dataclass(frozen=True)
class Tally:
    """Files of one form; adding is associative and commutative.

    Attributes:
        form: of their numbers.
        files: how many.
        pixels: of all of them.
        blank: pixels without data, transparency left out of account.
        blank_files: files with some.
        clear: other pixels that are transparent, if that band is transparency.
        clear_files: files with pixels that are either.
        stated: least and greatest value that the files state; None unless all do.
        one_unit: whether the bands of all have one unit.
        seen: counts of each band shown, where there is data that is not transparent.
        under: the same of transparent pixels.
        alpha: counts of the band that is called transparency.
    """

    form: Form
    files: int
    pixels: int
    blank: int
    blank_files: int
    clear: int
    clear_files: int
    stated: ValueRange | None
    one_unit: bool
    seen: tuple[Counts, ...]
    under: tuple[Counts, ...]
    alpha: Counts

    @classmethod
    def of(cls, source: rendering.Source) -> "Tally":
        """Of one open file.

        Raises:
            ImageError: it is damaged, or none of its pixels holds data.
        """
        if source.ordinary is not None:
            return _ordinary(source, source.ordinary)
        form, bands = source.form, len(source.form.shown)
        nothing = (Counts.none(form.whole),) * bands
        seen, under, alpha, blank = nothing, nothing, Counts.none(whole=True), 0
        for block in source.blocks():
            found = _counted(block, form)
            seen = _sum(seen, found.seen)
            under = _sum(under, found.under)
            alpha, blank = alpha + found.alpha, blank + found.blank
        pixels, clear = source.height * source.width, under[0].total
        if blank == pixels:
            raise ImageError("none of its pixels holds data")
        some, either = int(blank > 0), int(blank + clear > 0)
        rest = (seen, under, alpha)
        return cls(
            form, 1, pixels, blank, some, clear, either, source.stated, source.one_unit, *rest
        )

    def __add__(self, other: "Tally") -> "Tally":
        """Of the files of both."""
        both = self.stated and other.stated
        return replace(
            self,
            files=self.files + other.files,
            pixels=self.pixels + other.pixels,
            blank=self.blank + other.blank,
            blank_files=self.blank_files + other.blank_files,
            clear=self.clear + other.clear,
            clear_files=self.clear_files + other.clear_files,
            stated=_union(self.stated, other.stated) if both else None,
            one_unit=self.one_unit and other.one_unit,
            seen=_sum(self.seen, other.seen),
            under=_sum(self.under, other.under),
            alpha=self.alpha + other.alpha,
        )

    def values(self, transparency: bool) -> tuple[Counts, ...]:
        """Counts of each band where there is data."""
        return self.seen if transparency else _sum(self.seen, self.under)

    def level_counts(self, made: Rendering) -> Counts:
        """Counts of the levels that the pictures have."""
        spans = [span[::-1] if made.form.inverted else span for span in made.ranges]
        bands = zip(self.values(made.alpha), spans, strict=True)
        return summed([on_levels(counts, span) for counts, span in bands])


def _ordinary(source: rendering.Source, picture: Picture) -> Tally:
    """Of a file whose numbers are levels: they decide nothing, so some of its pixels will do."""
    size, valid = source.height * source.width, picture.valid
    step = math.ceil(math.sqrt(max(size / SAMPLE_PIXELS, 1)))
    drawn = picture.pixels[::step, ::step]
    drawn = drawn.reshape(-1, 3) if valid is None else drawn[valid[::step, ::step]]
    blank = 0 if valid is None else size - int(np.count_nonzero(valid))
    if blank == size:
        raise ImageError("none of its pixels holds data")
    seen = tuple(Counts.of(channel, whole=True) for channel in drawn.T)
    nothing, some = Counts.none(whole=True), int(blank > 0)
    return Tally(
        source.form, 1, size, blank, some, 0, some, None, True, seen, (nothing,) * 3, nothing
    )


class _Counted(NamedTuple):
    seen: tuple[Counts, ...]
    under: tuple[Counts, ...]
    alpha: Counts
    blank: int


def _counted(block: Block, form: Form) -> _Counted:
    """Counts of a block's values."""
    valid = np.ones(block.values.shape[1:], np.bool_) if block.valid is None else block.valid
    alpha, visible = Counts.none(whole=True), valid
    if block.alpha is not None:
        steps = np.rint(rendering.shares(block.alpha) * np.float32(ALPHA_STEPS)).astype(np.int64)
        alpha = Counts.of(steps[valid], whole=True)
        visible = valid & (steps > 0)
        if form.certain:
            valid = visible
    seen = tuple(Counts.of(band[visible], form.whole) for band in block.values)
    hidden = valid & ~visible
    under = tuple(Counts.of(band[hidden], form.whole) for band in block.values)
    return _Counted(seen, under, alpha, int(valid.size - valid.sum()))


def _sum(one: Sequence[Counts], other: Sequence[Counts]) -> tuple[Counts, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _union(one: ValueRange | None, other: ValueRange | None) -> ValueRange | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def by_form(tallies: Iterable[Tally]) -> list[Tally]:
    """One tally of each form, ordered by the form."""
    found: dict[Form, Tally] = {}
    for each in tallies:
        found[each.form] = found[each.form] + each if each.form in found else each
    return [found[form] for form in sorted(found, key=str)]


def packed(tallies: Sequence[Tally]) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Tallies for a record, and their counts for a file of tensors."""
    documents, tensors = [], {}
    for number, tally in enumerate(tallies):
        lists = {"seen": tally.seen, "under": tally.under, "alpha": (tally.alpha,)}
        ends: dict[str, list[Any]] = {}
        for name, counts in lists.items():
            ends[name] = [[each.least, each.greatest] if each.total else None for each in counts]
            for band, each in enumerate(counts):
                tensors[f"{number}.{name}.{band}.keys"] = each.keys
                tensors[f"{number}.{name}.{band}.counts"] = each.counts
        plain = {k: v for k, v in vars(tally).items() if k not in {"form", *lists}}
        documents.append({**plain, "form": asdict(tally.form), "ends": ends})
    return documents, tensors


def unpacked(
    documents: Sequence[dict[str, Any]], tensors: Mapping[str, NDArray[Any]]
) -> list[Tally]:
    """Back from `packed`, after JSON made lists of tuples."""
    return [_unpacked(number, document, tensors) for number, document in enumerate(documents)]


def _unpacked(number: int, document: dict[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Tally:
    form = form_of(document["form"])
    lists = {
        name: tuple(
            Counts(
                tensors[f"{number}.{name}.{band}.keys"],
                tensors[f"{number}.{name}.{band}.counts"],
                np.inf if end is None else float(end[0]),
                -np.inf if end is None else float(end[1]),
                whole=name == "alpha" or form.whole,
            )
            for band, end in enumerate(ends)
        )
        for name, ends in document["ends"].items()
    }
    stated = document["stated"]
    plain: dict[str, Any] = {k: v for k, v in document.items() if k not in {"form", "ends"}}
    plain["stated"] = None if stated is None else (float(stated[0]), float(stated[1]))
    (alpha,) = lists["alpha"]
    return Tally(form=form, **plain, seen=lists["seen"], under=lists["under"], alpha=alpha)
