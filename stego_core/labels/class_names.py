"""What people make of clusters: names, colours, merged and ignored ones; masks stay as they are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import OptionError
from stego_core.images.palette import VOID_COLOUR, palette, rgb
from stego_core.labels.void import VOID_BYTE

LONGEST_NAME = 100
"""Characters of a class name at most."""
COLOUR = re.compile(r"#[0-9a-f]{6}")
"""A colour as classes keep it."""


def numbered(cluster: int) -> str:
    """What a cluster is called before anybody named it."""
    return f"cluster {cluster}"


@dataclass(frozen=True)
class ClassEntry:
    """One cluster as people see it.

    Attributes:
        name: of one line, not empty.
        colour: "#rrggbb".
        merged_into: cluster that its pixels count as; None for itself.
        ignored: whether its pixels belong to no class.
    """

    name: str
    colour: str
    merged_into: int | None = None
    ignored: bool = False


@dataclass(frozen=True)
class ClassNames:
    """The entries of K clusters, by their ids.

    Edits return new ones; they raise OptionError where there is no such class, or where the new
    entries are not valid.
    """

    entries: tuple[ClassEntry, ...]

    @classmethod
    def create(cls, names: Sequence[str]) -> "ClassNames":
        """K classes with the palette's colours; a name that comes again gets a number.

        Raises:
            OptionError: a name cannot be one.
        """
        colours = [f"#{colour.tobytes().hex()}" for colour in palette(len(names))]
        distinct: list[str] = []
        for name in names:
            taken = {each.casefold() for each in distinct}
            numbered = (f"{name} {number}" for number in range(2, len(names) + 2))
            distinct.append(next(n for n in (name, *numbered) if n.casefold() not in taken))
        return cls(tuple(map(ClassEntry, distinct, colours))).checked()

    def checked(self) -> "ClassNames":
        """Itself, if its entries are valid.

        Raises:
            OptionError: one of them is not; says which.
        """
        named: dict[str, int] = {}
        for number, entry in enumerate(self.entries):
            length = len(entry.name.strip())
            if not 0 < length <= LONGEST_NAME or not entry.name.isprintable():
                raise OptionError(
                    f"class {number} has the name {entry.name!r}; expected 1 to {LONGEST_NAME} "
                    "printable characters"
                )
            if not COLOUR.fullmatch(entry.colour):
                raise OptionError(
                    f"class {number} has the colour {entry.colour!r}; expected for example #1f77b4"
                )
            into = entry.merged_into
            if into is not None and (not 0 <= into < len(self.entries) or into == number):
                raise OptionError(
                    f"class {number} is merged into {into}; expected another one of 0 to "
                    f"{len(self.entries) - 1}"
                )
            other = number if into is not None else named.setdefault(entry.name.casefold(), number)
            if other != number:
                raise OptionError(
                    f"classes {other} and {number} have the same name {entry.name!r}; merge them "
                    "or give another name"
                )
        self.display_table()
        return self

    def display_table(self) -> NDArray[np.uint8]:
        """(256,) uint8: the class that each stored cluster id counts as, VOID_BYTE where none.

        Raises:
            OptionError: clusters are merged in a circle.
        """
        table = np.full(256, VOID_BYTE, np.uint8)
        for number in range(len(self.entries)):
            root = self.root(number)
            table[number] = VOID_BYTE if self.entries[root].ignored else root
        return table

    def root(self, number: int) -> int:
        """The cluster that one is merged into in the end; itself where it is not.

        Raises:
            OptionError: clusters are merged in a circle.
        """
        chain = [number]
        while (into := self.entries[chain[-1]].merged_into) is not None:
            if into in chain:
                circle = " into ".join(map(str, [*chain, into]))
                raise OptionError(f"classes are merged in a circle: {circle}; undo one of them")
            chain.append(into)
        return chain[-1]

    def kept(self) -> list[int]:
        """Ids that are shown: neither merged into another nor ignored."""
        table = self.display_table()
        return [number for number in range(len(self.entries)) if table[number] == number]

    def named(self) -> list[int]:
        """Ids that are shown and have a name: from people, from labels, or from an import."""
        return [n for n in self.kept() if self.entries[n].name != numbered(n)]

    def names(self) -> list[str]:
        """The name that each cluster is shown by, "ignored" for those that are."""
        roots = [self.entries[self.root(number)] for number in range(len(self.entries))]
        return ["ignored" if root.ignored else root.name for root in roots]

    def colours(self) -> NDArray[np.uint8]:
        """(256, 3) uint8 RGB by stored or shown id; ignored ones and VOID_BYTE are black."""
        table = np.full((256, 3), VOID_COLOUR, np.uint8)
        for number, displayed in enumerate(self.display_table()[: len(self.entries)]):
            if displayed != VOID_BYTE:
                table[number] = rgb(self.entries[displayed].colour)
        return table

    def edited(
        self, number: int, name: str | None = None, colour: str | None = None
    ) -> "ClassNames":
        """A copy with another name or colour of one class."""
        changes = {} if name is None else {"name": " ".join(name.split())}
        changes |= {} if colour is None else {"colour": _full(colour)}
        return self._replaced([number], **changes)

    def merged(self, numbers: Iterable[int], into: int | None) -> "ClassNames":
        """A copy in which classes count as another one; None separates them again."""
        return self._replaced(numbers, merged_into=None if into is None else self.existing(into))

    def ignoring(self, numbers: Iterable[int], ignored: bool = True) -> "ClassNames":
        """A copy in which pixels of some classes belong to none, or to these classes again."""
        return self._replaced(numbers, ignored=ignored)

    def _replaced(self, numbers: Iterable[int], **changes: Any) -> "ClassNames":
        entries = list(self.entries)
        for number in numbers:
            entries[number] = replace(entries[self.existing(number)], **changes)
        return ClassNames(tuple(entries)).checked()

    def existing(self, number: int) -> int:
        """The id, if there is such a class.

        Raises:
            OptionError: there is none.
        """
        if not 0 <= number < len(self.entries):
            raise OptionError(f"there is no class {number}; they are 0 to {len(self.entries) - 1}")
        return number

    def find(self, text: str) -> int:
        """The id of a class given by its id or its name.

        Raises:
            OptionError: there is none.
        """
        if text.isdecimal():
            return self.existing(int(text))
        for number in self.kept() + list(range(len(self.entries))):
            if self.entries[number].name.casefold() == text.strip().casefold():
                return number
        names = ", ".join(f"{i} {self.entries[i].name}" for i in self.kept())
        raise OptionError(f"there is no class {text!r}; there are {names}")


@dataclass(frozen=True)
class Proposal:
    """A cluster's name as labels suggest it.

    Attributes:
        cluster: its id.
        name: of the label that most of its labelled pixels have; None where none is labelled.
        support: share of its labelled pixels that have it, 0 to 1.
        pixels: its labelled pixels.
    """

    cluster: int
    name: str | None
    support: float
    pixels: int


def proposals(confusion: NDArray[np.integer], names: Sequence[str]) -> list[Proposal]:
    """A name for each cluster: the label that most of its labelled pixels have.

    `confusion` (R, K) counts the pixels of label r in cluster k.
    """
    result = []
    for cluster, column in enumerate(np.asarray(confusion).T):
        pixels, best = int(column.sum()), int(column.argmax())
        name = names[best] if pixels else None
        result.append(Proposal(cluster, name, float(column[best] / max(pixels, 1)), pixels))
    return result


def accepted(
    classes: ClassNames,
    proposed: Sequence[Proposal],
    support: float = 0.0,
    colours: Mapping[str, str] | None = None,
) -> ClassNames:
    """Classes renamed as proposed; classes of one name are merged into the one that has most of it.

    Clusters without a proposal of at least `support` keep their names. Colours stay, except for
    names that `colours` contains.
    """
    by_name: dict[str, list[Proposal]] = {}
    for proposal in proposed:
        if proposal.name is not None and proposal.support >= support:
            by_name.setdefault(proposal.name, []).append(proposal)
    entries = list(classes.entries)
    for name, group in by_name.items():
        largest = max(group, key=lambda p: (p.support * p.pixels, -p.cluster)).cluster
        for cluster in (proposal.cluster for proposal in group):
            entry, into = entries[cluster], None if cluster == largest else largest
            colour = (colours or {}).get(name, entry.colour)
            entries[cluster] = replace(entry, name=name, colour=colour, merged_into=into)
    taken = {name.casefold() for name in by_name}
    renamed = {proposal.cluster for group in by_name.values() for proposal in group}
    for cluster in {proposal.cluster for proposal in proposed} - renamed:
        entry = entries[cluster]
        if entry.merged_into is None and entry.name.casefold() in taken:
            entries[cluster] = replace(entry, name=numbered(cluster))
    return ClassNames(tuple(entries)).checked()


def _full(colour: str) -> str:
    """A colour in small letters, "#abc" written out."""
    text = colour.strip().lower()
    text = text if text.startswith("#") else f"#{text}"
    return "#" + "".join(2 * digit for digit in text[1:]) if len(text) == 4 else text
