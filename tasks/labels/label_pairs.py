"""Images and labels of a whole dump, paired a part at a time: memory does not grow with them.

A part holds all names whose hash of `folded` has the same remainder, so that whatever form two
names are compared in, those that may be equal are in one part.
"""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.files.image_names import composed, digests, ending, folded, stem
from tasks.labels import pairing
from tasks.labels.pairing import SAMPLED_FILES, pair, without
from tasks.storage.spool import Rows, Spool
from tasks.storage.storage import File, Storage

PART_ROWS = 2**15  # images and labels that are compared in memory, about
MOST_PARTS = 256  # so many files are written side by side
Named = tuple[int, str]
"""An image's number and its name without ending."""


@dataclass
class Example:
    """How many there are, and the first of them."""

    count: int = 0
    first: Any = None

    def add(self, found: Sequence[Any]) -> None:
        """Add some."""
        if found:
            self.count += len(found)
            least = min(found)
            self.first = least if self.first is None else min(self.first, least)


@dataclass
class LabelPairs:
    """The labels of images, by the images' numbers, and what is no image's label.

    Attributes:
        labels: number of an image, and its label, in ascending order.
        orphans: labels that belong to no image, sorted by path.
        seconds, others: paths, as in `Pairs`.
        inexact: (number, name) of images whose label's name differs in case or Unicode form.
    """

    labels: "Rows[tuple[int, File]]"
    orphans: Rows[File]
    seconds: Example = field(default_factory=Example)
    others: Example = field(default_factory=Example)
    inexact: Example = field(default_factory=Example)


def pair_all(
    images: Iterable[Named],
    labels: Rows[File],
    spool: Spool,
    image_suffix: str = "",
    label_suffix: str = "",
    total: int = 0,
) -> LabelPairs:
    """Find each image's label, as `pair` does; `total` is about how many images there are."""
    parts = _parts(total + len(labels))

    def part_of(name: str, suffix: str) -> int:
        return _part(folded(without(name, suffix) or name), parts)

    of_images = ((part_of(name, image_suffix), (number, name)) for number, name in images)
    of_labels = ((part_of(stem(file.path), label_suffix), file) for file in labels)
    images_of = spool.split(of_images, parts, _named)
    labels_of = spool.split(of_labels, parts, File._make)
    found: list[Rows[tuple[int, File]]] = []
    left: list[Rows[File]] = []
    pairs = LabelPairs(spool.keep([], labelled), spool.keep([], File._make))
    for some, files in zip(images_of, labels_of, strict=True):
        numbered, present = list(some), list(files)
        part = pair([name for _, name in numbered], present, image_suffix, label_suffix)
        own = _numbered(numbered, part.labels)
        found.append(spool.keep(own, labelled, merged=True))
        orphans = set(part.orphans)
        left.append(spool.keep((file for file in present if file.path in orphans), File._make))
        pairs.seconds.add(part.seconds)
        pairs.others.add(part.others)
        pairs.inexact.add([numbered[place] for place in part.inexact])
    pairs.labels = spool.keep(heapq.merge(*found), labelled)
    pairs.orphans = spool.keep(spool.sorted(itertools.chain(*left), File._make), File._make)
    return pairs


def beside(paths: Rows[str], spool: Spool) -> Rows[tuple[str, str]]:
    """Each file that may be a label with its image, as `pairing.beside`, sorted by label."""
    several = len({ending(path) for path in paths}) > 1
    parts = _parts(len(paths))
    named = ((_part(composed(stem(path)), parts), path) for path in (paths if several else ()))
    found = (
        pair
        for some in spool.split(named, parts, str)
        for pair in pairing.beside(list(some)).items()
    )
    return spool.keep(spool.sorted(found, _two), _two)


def label_like(root: Storage, paths: Rows[str], spool: Spool) -> Rows[str]:
    """Files that hold what only labels do, each beside its image: few grey or palette values.

    A few of them are looked into; unless all of those are such, none counts as a label.
    """
    pairs = beside(paths, spool)
    step = max(len(pairs) // SAMPLED_FILES, 1)
    sample = itertools.islice(pairs, 0, step * SAMPLED_FILES, step)
    like = all(pairing.is_label(root, label, image) for label, image in sample)
    return spool.keep((label for label, _ in pairs) if like else (), str)


def _parts(rows: int) -> int:
    return min(rows // PART_ROWS + 1, MOST_PARTS)


def _part(name: str, parts: int) -> int:
    """The part of a name."""
    return int(digests([name])[0]) % parts if parts > 1 else 0


def _numbered(images: Sequence[Named], labels: Sequence[File | None]) -> Iterator[tuple[int, File]]:
    for (number, _), label in zip(images, labels, strict=True):
        if label is not None:
            yield number, label


def _named(row: Sequence[Any]) -> Named:
    return row[0], row[1]


def labelled(row: Sequence[Any]) -> tuple[int, File]:
    """An image's number and its label, from a row of a spool."""
    return row[0], File._make(row[1])


def _two(row: Sequence[Any]) -> tuple[str, str]:
    return row[0], row[1]
