"""What people make of clusters: names, colours, merged and ignored ones; masks stay as they are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import OptionError
from stego_core.images.palette import VOID_COLOUR, palette
from stego_core.labels.void import VOID_BYTE

LONGEST_NAME = 100
COLOUR = re.compile(r"#[0-9a-f]{6}")


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
    """Every cluster's entry, by its id. Edits return new ones.

    Attributes:
        entries: K of them.
    """

    entries: tuple[ClassEntry, ...]

    @classmethod
    def create(cls, names: Sequence[str]) -> "ClassNames":
        """K classes with the palette's colours; a name that comes again gets a number.

        Raises:
            OptionError: a name cannot be one.
        """
        colours = [hex_colour(colour) for colour in palette(len(names))]
        distinct: list[str] = []
        for name in names:
            taken = {each.casefold() for each in distinct}
            numbered = (f"{name} {number}" for number in range(2, len(names) + 2))
            distinct.append(next(n for n in (name, *numbered) if n.casefold() not in taken))
        return cls(tuple(map(ClassEntry, distinct, colours))).checked()

    def checked(self) -> "ClassNames":
        """Itself, if it makes sense.

        Raises:
            OptionError: it does not; says what.
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
            if into is not None:
                continue
            other = named.setdefault(entry.name.casefold(), number)
            if other != number:
                raise OptionError(
                    f"classes {other} and {number} have the same name {entry.name!r}; merge them "
                    "or give another name"
                )
        self.shown()
        return self

    def shown(self) -> NDArray[np.uint8]:
        """(256,) uint8: the class that each stored cluster id counts as, VOID_BYTE where none.

        Raises:
            OptionError: clusters are merged in a circle.
        """
        table = np.full(256, VOID_BYTE, np.uint8)
        for number in range(len(self.entries)):
            last = self.root(number)
            table[number] = VOID_BYTE if self.entries[last].ignored else last
        return table

    def root(self, number: int) -> int:
        """The cluster that one is merged into in the end; itself where it is not.

        Raises:
            OptionError: clusters are merged in a circle.
        """
        seen = [number]
        while (into := self.entries[seen[-1]].merged_into) is not None:
            if into in seen:
                circle = " into ".join(map(str, [*seen, into]))
                raise OptionError(f"classes are merged in a circle: {circle}; undo one of them")
            seen.append(into)
        return seen[-1]

    def kept(self) -> list[int]:
        """Ids that are shown: neither merged into another nor ignored."""
        shown = self.shown()
        return [number for number in range(len(self.entries)) if shown[number] == number]

    def names(self) -> list[str]:
        """The name that each cluster is shown by, "ignored" for those that are."""
        roots = [self.entries[self.root(number)] for number in range(len(self.entries))]
        return ["ignored" if root.ignored else root.name for root in roots]

    def colours(self) -> NDArray[np.uint8]:
        """(256, 3) uint8 RGB by stored or shown id; ignored ones and VOID_BYTE are black."""
        table = np.full((256, 3), VOID_COLOUR, np.uint8)
        for number, shown in enumerate(self.shown()[: len(self.entries)]):
            if shown != VOID_BYTE:
                table[number] = rgb(self.entries[shown].colour)
        return table

    def edited(
        self, number: int, name: str | None = None, colour: str | None = None
    ) -> "ClassNames":
        """With another name or colour of one class.

        Raises:
            OptionError: there is no such class, or the outcome makes no sense.
        """
        entry = self.entries[self.existing(number)]
        named = entry.name if name is None else " ".join(name.split())
        painted = entry.colour if colour is None else _full(colour)
        return self._with(number, replace(entry, name=named, colour=painted)).checked()

    def merged(self, numbers: Iterable[int], into: int | None) -> "ClassNames":
        """With classes that count as another one; None takes them apart again.

        Raises:
            OptionError: there is no such class, or the outcome makes no sense.
        """
        result = self
        for number in numbers:
            entry = result.entries[self.existing(number)]
            target = None if into is None else self.existing(into)
            result = result._with(number, replace(entry, merged_into=target))
        return result.checked()

    def ignoring(self, numbers: Iterable[int], ignored: bool = True) -> "ClassNames":
        """With classes whose pixels belong to none, or to them again.

        Raises:
            OptionError: there is no such class, or the outcome makes no sense.
        """
        result = self
        for number in numbers:
            entry = result.entries[self.existing(number)]
            result = result._with(number, replace(entry, ignored=ignored))
        return result.checked()

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

    def _with(self, number: int, entry: ClassEntry) -> "ClassNames":
        return ClassNames((*self.entries[:number], entry, *self.entries[number + 1 :]))


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
    """A name for each cluster from the labels on its pixels: that which most of them have.

    Args:
        confusion: (R, K) pixels of label r in cluster k.
        names: R names of the labels.
    """
    found = []
    for cluster, column in enumerate(np.asarray(confusion).T):
        pixels, best = int(column.sum()), int(column.argmax())
        name = names[best] if pixels else None
        found.append(Proposal(cluster, name, float(column[best] / max(pixels, 1)), pixels))
    return found


def accepted(
    classes: ClassNames,
    proposed: Sequence[Proposal],
    support: float = 0.0,
    colours: Mapping[str, str] | None = None,
) -> ClassNames:
    """Classes renamed as proposed; those of one name are merged into the one that has most of it.

    Clusters without a proposal of at least so much support keep their names; colours stay, but
    for those given by name.
    """
    by_name: dict[str, list[Proposal]] = {}
    proposed = [p if p.support >= support else replace(p, name=None) for p in proposed]
    for each in proposed:
        if each.name is not None:
            by_name.setdefault(each.name, []).append(each)
    entries = list(classes.entries)
    for name, group in by_name.items():
        first = max(group, key=lambda each: (each.support * each.pixels, -each.cluster)).cluster
        for each in group:
            into = None if each.cluster == first else first
            own = entries[each.cluster]
            colour = (colours or {}).get(name, own.colour)
            entries[each.cluster] = replace(own, name=name, colour=colour, merged_into=into)
    taken = {name.casefold() for name in by_name}
    for each in proposed:  # whose old name is another's now
        own = entries[each.cluster]
        if each.name is None and own.merged_into is None and own.name.casefold() in taken:
            entries[each.cluster] = replace(own, name=f"cluster {each.cluster}")
    return ClassNames(tuple(entries)).checked()


def hex_colour(colour: Iterable[int]) -> str:
    """RGB, 0 to 255 each, as "#rrggbb"."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def rgb(colour: str) -> tuple[int, int, int]:
    """ "#rrggbb" as RGB, 0 to 255 each."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _full(colour: str) -> str:
    """A colour in small letters, "#abc" written out."""
    text = colour.strip().lower()
    text = text if text.startswith("#") else f"#{text}"
    return "#" + "".join(2 * digit for digit in text[1:]) if len(text) == 4 else text
