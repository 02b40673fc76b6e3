"""Which images come on a page over all dumps, from the catalog, without reading every table."""

from collections.abc import Callable, Iterator
from heapq import merge
from itertools import islice

import numpy as np

from tasks.browse.image_table import ImageTable
from tasks.workspace.catalog_file import Entries
from tasks.workspace.dump_entry import DumpEntry

Table = Callable[[str], ImageTable]
"""Gives the table of a dump."""
Place = tuple[str, int]
"""A dump, and the number of an image in its table."""


def least_certain(entries: Entries, table: Table, offset: int, limit: int) -> list[Place] | None:
    """A part of all images, the least certain first, equal ones in order of arrival; None where
    the catalog does not know how certain they are.

    The catalog has the first of every dump. The table of a dump is read only when these are spent.

    Args:
        entries: of dumps that have masks.
    """
    if any(entry.stages["masks"].get("uncertain") is None for entry in entries.values()):
        return None
    parts = [_ranked(each, *pair, table) for each, pair in enumerate(entries.items())]
    return [(dump, number) for *_, dump, number in islice(merge(*parts), offset, offset + limit)]


def _ranked(
    position: int, dump: str, entry: DumpEntry, table: Table
) -> Iterator[tuple[float, int, int, str, int]]:
    """A dump's images with what they are ordered by, the least certain first."""
    masks = entry.stages["masks"]
    first = masks["uncertain"]
    for rank, (number, _, doubt) in enumerate(first):
        yield -doubt, position, rank, dump, number
    if len(first) < masks["masks"]:
        doubts = table(dump).column("doubt")
        order = np.argsort(-doubts, kind="stable")
        for rank in range(len(first), len(order)):
            number = int(order[rank])
            yield -float(doubts[number]), position, rank, dump, number


def as_indexed(entries: Entries, offset: int, limit: int) -> list[Place]:
    """A part of all images, dump after dump."""
    places: list[Place] = []
    for dump, entry in entries.items():
        count = int(entry.stages["masks"]["masks"])
        numbers = range(count)[max(offset, 0) : max(offset + limit, 0)]
        places += [(dump, number) for number in numbers]
        offset -= count
    return places


def candidates(entries: Entries, members: list[int] | None, labelled: bool | None) -> list[str]:
    """Dumps that may have images of some clusters, and images that are labelled or not."""
    return [
        dump
        for dump, entry in entries.items()
        if (members is None or any(entry.stages["masks"]["pixels"][c] for c in members))
        and (labelled is not True or entry.corpus["labelled"])
        and (labelled is not False or entry.corpus["labelled"] < entry.corpus["images"])
    ]
