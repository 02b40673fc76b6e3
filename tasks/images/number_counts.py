"""How often each number of a dump's files occurs, form by form: counts that add up in any order."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.rendering import Block, Form, Picture, Rendering, ValueRange, form_of
from stego_core.images.value_counts import Counts, on_levels, summed
from tasks.images import rendering

SAMPLE_PIXELS = 2**20  # pixels of an ordinary picture that are counted, about
ALPHA_STEPS = 65535  # transparency is counted in this many steps, whatever its type
BandCounts = tuple[Counts, ...]
"""Counts of each band shown."""


@dataclass(frozen=True)
class NumberCounts:
    """Counts of the numbers of files of one form; adding is associative and commutative."""

    form: Form  # of the numbers
    files: int  # how many
    pixels: int  # of all of them
    blank: int  # pixels without data, transparency left out of account
    blank_files: int  # files with blank pixels
    clear: int  # other pixels that are transparent, if that band is transparency
    clear_files: int  # files with blank or clear pixels
    stated: ValueRange | None  # least and greatest value that the files state; None unless all do
    one_unit: bool  # whether the bands of all have one unit
    opaque: BandCounts  # counts of the pixels that are neither blank nor clear
    transparent: BandCounts  # counts of the clear pixels
    alpha: Counts  # counts of the band that is called transparency

    @classmethod
    def of(cls, source: rendering.Source) -> "NumberCounts":
        """Counts of one open file; an ImageError if damaged, or none of its pixels holds data."""
        if source.ordinary is not None:
            counts = _of_picture(source, source.ordinary)
        else:
            counts = reduce(add, (_of_block(source, block) for block in source.blocks()))
        if counts.blank == counts.pixels:
            raise ImageError("none of its pixels holds data")
        any_clear = counts.blank + counts.clear > 0
        return replace(
            counts, files=1, blank_files=int(counts.blank > 0), clear_files=int(any_clear)
        )

    def __add__(self, other: "NumberCounts") -> "NumberCounts":
        """Counts of the files of both."""
        sums = ("files", "pixels", "blank", "blank_files", "clear", "clear_files", "alpha")
        return replace(
            self,
            **{name: getattr(self, name) + getattr(other, name) for name in sums},
            stated=_union(self.stated, other.stated),
            one_unit=self.one_unit and other.one_unit,
            opaque=_sum(self.opaque, other.opaque),
            transparent=_sum(self.transparent, other.transparent),
        )

    def with_data(self, transparency: bool) -> BandCounts:
        """Counts of the pixels that hold data: clear ones do not where there is transparency."""
        return self.opaque if transparency else _sum(self.opaque, self.transparent)

    def level_counts(self, chosen: Rendering) -> Counts:
        """Counts of the levels that the pictures have."""
        spans = [span[::-1] if chosen.form.inverted else span for span in chosen.ranges]
        bands = zip(self.with_data(chosen.alpha), spans, strict=True)
        return summed([on_levels(counts, span) for counts, span in bands])


def _of_picture(source: rendering.Source, picture: Picture) -> NumberCounts:
    """Counts of a file whose numbers are levels: they decide nothing, so a sample is enough."""
    pixels, valid = source.height * source.width, picture.valid
    step = math.ceil(math.sqrt(max(pixels / SAMPLE_PIXELS, 1)))
    sample = picture.pixels[::step, ::step]
    sample = sample.reshape(-1, 3) if valid is None else sample[valid[::step, ::step]]
    blank = 0 if valid is None else pixels - int(np.count_nonzero(valid))
    levels, none = tuple(Counts.of(channel, whole=True) for channel in sample.T), Counts.none(True)
    return NumberCounts(
        source.form, 0, pixels, blank, 0, 0, 0, None, True, levels, (none,) * 3, none
    )


def _of_block(source: rendering.Source, block: Block) -> NumberCounts:
    """Counts of a block of a file."""
    form = source.form
    valid = np.ones(block.values.shape[1:], np.bool_) if block.valid is None else block.valid
    alpha, opaque = Counts.none(whole=True), valid
    if block.alpha is not None:
        steps = np.rint(rendering.opacity(block.alpha) * np.float32(ALPHA_STEPS)).astype(np.int64)
        alpha = Counts.of(steps[valid], whole=True)
        opaque = valid & (steps > 0)
        if form.certain:
            valid = opaque
    clear = valid & ~opaque
    return NumberCounts(
        form,
        0,
        valid.size,
        valid.size - int(valid.sum()),
        0,
        int(clear.sum()),
        0,
        source.stated,
        source.one_unit,
        tuple(Counts.of(band[opaque], form.whole) for band in block.values),
        tuple(Counts.of(band[clear], form.whole) for band in block.values),
        alpha,
    )


def _sum(one: BandCounts, other: BandCounts) -> BandCounts:
    return tuple(map(add, one, other))


def _union(one: ValueRange | None, other: ValueRange | None) -> ValueRange | None:
    """The range that covers two; None where either is unknown."""
    return one and other and (min(one[0], other[0]), max(one[1], other[1]))


def by_form(counts: Iterable[NumberCounts]) -> list[NumberCounts]:
    """The counts added up for each form, ordered by the form."""
    sums: dict[Form, NumberCounts] = {}
    for part in counts:
        sums[part.form] = sums[part.form] + part if part.form in sums else part
    return [sums[form] for form in sorted(sums, key=str)]


def pack(counts: Sequence[NumberCounts]) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Counts as documents for a record, and as arrays for a file of tensors."""
    documents: list[dict[str, Any]] = []
    tensors: dict[str, NDArray[Any]] = {}
    for number, part in enumerate(counts):
        fields = dict(vars(part))
        bands = {"seen": fields.pop("opaque"), "under": fields.pop("transparent")}
        bands["alpha"] = (fields.pop("alpha"),)
        ends = {}
        for name, band_counts in bands.items():
            ends[name] = [[c.least, c.greatest] if c.total else None for c in band_counts]
            for band, c in enumerate(band_counts):
                tensors[f"{number}.{name}.{band}.keys"] = c.keys
                tensors[f"{number}.{name}.{band}.counts"] = c.counts
        documents.append({**fields, "form": asdict(part.form), "ends": ends})
    return documents, tensors


def unpack(
    documents: Sequence[Mapping[str, Any]], tensors: Mapping[str, NDArray[Any]]
) -> list[NumberCounts]:
    """Back from `pack`, after JSON made lists of tuples."""
    return [_unpack(number, document, tensors) for number, document in enumerate(documents)]


def _unpack(
    number: int, document: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> NumberCounts:
    fields = dict(document)
    form, stated = form_of(fields.pop("form")), fields.pop("stated")
    bands = {
        name: tuple(
            Counts(
                tensors[f"{number}.{name}.{band}.keys"],
                tensors[f"{number}.{name}.{band}.counts"],
                *((np.inf, -np.inf) if end is None else (float(end[0]), float(end[1]))),
                name == "alpha" or form.whole,
            )
            for band, end in enumerate(ends)
        )
        for name, ends in fields.pop("ends").items()
    }
    stated = None if stated is None else (float(stated[0]), float(stated[1]))
    (alpha,) = bands["alpha"]
    return NumberCounts(
        form=form,
        stated=stated,
        opaque=bands["seen"],
        transparent=bands["under"],
        alpha=alpha,
        **fields,
    )
