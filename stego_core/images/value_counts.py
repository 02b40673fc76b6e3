"""How often each value of a corpus occurs: counts that add up in any order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from stego_core.images.rendering import ValueRange

DROPPED = 10
"""Bits of a float32 that counting ignores: values differ if they are one part in 8,192 apart."""


@dataclass(frozen=True)
class Counts:
    """How often each value occurs; adding is associative and commutative.

    Attributes:
        keys: (n,) int64, rising: whole values themselves, others as `_key` orders them.
        counts: (n,) int64.
        least, greatest: exact extremes; inf and −inf of no value.
        whole: whether keys are values.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    least: float
    greatest: float
    whole: bool

    @classmethod
    def none(cls, whole: bool) -> "Counts":
        """Of no value."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.inf, -np.inf, whole)

    @classmethod
    def of(cls, values: NDArray[np.generic], whole: bool) -> "Counts":
        """Of finite values of any shape; whole ones have at most 16 bits."""
        if not values.size:
            return cls.none(whole)
        keys = values.ravel().astype(np.int64) if whole else _key(values.ravel())
        first = int(keys.min())
        counted = np.bincount(keys - first)
        (occurring,) = np.nonzero(counted)
        least, greatest = float(values.min()), float(values.max())
        return cls(occurring + first, counted[occurring], least, greatest, whole)

    def __add__(self, other: "Counts") -> "Counts":
        """Of both."""
        keys, positions = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, positions, np.concatenate([self.counts, other.counts]))
        least, greatest = min(self.least, other.least), max(self.greatest, other.greatest)
        return Counts(keys, counts, least, greatest, self.whole)

    @property
    def total(self) -> int:
        """Values."""
        return int(self.counts.sum())

    @property
    def values(self) -> NDArray[np.float64]:
        """(n,) the value of each key."""
        values = self.keys.astype(np.float64) if self.whole else _value(self.keys)
        return values.clip(self.least, self.greatest)

    def quantile(self, share: float) -> float:
        """The least value that at least this share of all values do not exceed."""
        position = np.searchsorted(np.cumsum(self.counts), share * self.total)
        return float(self.values[min(int(position), len(self.keys) - 1)])

    def share(self, low: float, high: float) -> float:
        """Share of the values in [low, high]."""
        inside = (self.values >= low) & (self.values <= high)
        return float(self.counts[inside].sum() / max(self.total, 1))


def _key(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Whole numbers (n,) in the order of the values, fewer than the values."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return _ordered(bits) >> DROPPED


def _value(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The least value of each key."""
    bits = _ordered(keys << DROPPED)
    return bits.astype(np.int32).view(np.float32).astype(np.float64)


def _ordered(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of float32 as numbers that rise with the floats, and such numbers as bits again."""
    return np.where(bits < 0, np.int64(-(2**31)) - bits, bits)


def summed(counts: Sequence[Counts]) -> Counts:
    """Of all together."""
    return reduce(add, counts)


def on_levels(counts: Counts, span: ValueRange) -> Counts:
    """Counts of values as counts of levels 0 to 255, between black and white."""
    low, high = span
    levels = np.floor(((counts.values - low) * (255 / (high - low))).clip(0, 255) + 0.5)
    by_level = np.bincount(levels.astype(np.int64), counts.counts, minlength=256).astype(np.int64)
    (used,) = np.nonzero(by_level)
    if not len(used):
        return Counts.none(whole=True)
    return Counts(used, by_level[used], float(used[0]), float(used[-1]), whole=True)


def clipped(counts: Sequence[Counts], spans: Sequence[ValueRange]) -> float:
    """Share of the values outside of the ranges of their bands."""
    total = sum(each.total for each in counts)
    inside = sum(each.share(*span) * each.total for each, span in zip(counts, spans, strict=True))
    return 1 - inside / total if total else 0.0
