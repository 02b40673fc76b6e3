"""The order of images over all dumps: as if all tables were sorted, and few of them are read."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tasks.browse import image_order
from tasks.browse.image_table import ImageTable
from tasks.workspace.dump_entry import UNCERTAIN_IMAGES, DumpEntry

KEPT = UNCERTAIN_IMAGES


class Dumps:
    """Dumps with so many images each, of a few different uncertainties, so that many are equal."""

    def __init__(self, counts: list[int], seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.doubts = {
            f"d{number}": (generator.integers(0, 9, count) / 8).astype(np.float32)
            for number, count in enumerate(counts)
        }
        self.entries = {dump: self.entry(doubts) for dump, doubts in self.doubts.items()}
        self.read: list[str] = []

    def entry(self, doubts: np.ndarray) -> DumpEntry:
        first = np.argsort(-doubts, kind="stable")[:KEPT].tolist()
        uncertain = [[number, number, float(doubts[number])] for number in first]
        masks: dict[str, Any] = {"masks": len(doubts), "uncertain": uncertain, "pixels": [1, 0]}
        return DumpEntry({"images": len(doubts), "labelled": 0}, {"masks": masks}, 0, 0)

    def table(self, dump: str) -> ImageTable:
        self.read.append(dump)
        return cast(ImageTable, SimpleNamespace(column={"doubt": self.doubts[dump]}.get))

    def sorted(self) -> list[tuple[str, int]]:
        """All images, the slow way."""
        places = [(d, n) for d, doubts in self.doubts.items() for n in range(len(doubts))]
        return sorted(places, key=lambda place: -self.doubts[place[0]][place[1]])


@pytest.mark.parametrize("counts", [[], [0], [3], [KEPT, KEPT + 1], [30, 0, 5, 60, 1]])
@pytest.mark.parametrize("seed", [0, 1])
def test_pages_are_parts_of_the_whole_order(counts: list[int], seed: int) -> None:
    dumps = Dumps(counts, seed)
    whole = dumps.sorted()
    for limit in (1, 7, 200):
        pages = [
            image_order.least_certain(dumps.entries, dumps.table, offset, limit) or []
            for offset in range(0, len(whole) + limit, limit)
        ]
        assert [place for page in pages for place in page] == whole


def test_only_the_tables_of_dumps_that_are_spent_are_read() -> None:
    dumps = Dumps([20] * 50)
    dumps.doubts = {d: doubts / 10 for d, doubts in dumps.doubts.items()}
    dumps.doubts["d7"] = np.ones(20, np.float32)
    dumps.entries = {dump: dumps.entry(doubts) for dump, doubts in dumps.doubts.items()}
    found = image_order.least_certain(dumps.entries, dumps.table, 0, 12)
    assert found == [("d7", number) for number in range(12)]
    assert dumps.read == ["d7"]


def test_without_uncertainty_the_catalog_does_not_know() -> None:
    dumps = Dumps([3, 3])
    dumps.entries["d1"].stages["masks"]["uncertain"] = None
    assert image_order.least_certain(dumps.entries, dumps.table, 0, 5) is None


@pytest.mark.parametrize(("offset", "limit"), [(0, 4), (2, 5), (4, 1), (3, 0), (9, 3), (0, 99)])
def test_as_indexed(offset: int, limit: int) -> None:
    dumps = Dumps([4, 0, 2, 3])
    whole = [(d, n) for d, doubts in dumps.doubts.items() for n in range(len(doubts))]
    found = image_order.as_indexed(dumps.entries, offset, limit)
    assert found == whole[offset : offset + limit]


def test_dumps_that_cannot_match_are_left_out() -> None:
    entries = Dumps([2, 2, 2]).entries
    entries["d1"].stages["masks"]["pixels"] = [0, 5]
    entries["d1"].corpus["labelled"] = 1
    entries["d2"].corpus["labelled"] = 2
    assert image_order.candidates(entries, None, None) == ["d0", "d1", "d2"]
    assert image_order.candidates(entries, [1], None) == ["d1"]
    assert image_order.candidates(entries, [0, 1], True) == ["d1", "d2"]
    assert image_order.candidates(entries, None, False) == ["d0", "d1"]
