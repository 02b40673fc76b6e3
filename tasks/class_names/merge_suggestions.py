"""Which classes to merge: groups of those whose centroids are near, by Ward's hierarchy.

What people decided stays: classes that they merged are one class here, ignored ones are left out,
and two classes that have names are never merged with each other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.clustering import merges
from stego_core.errors import OptionError
from stego_core.labels.class_names import ClassNames
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary

Floats = NDArray[np.float64]

LEAST_GROUPS = 2
"""Groups at least, as one would separate nothing."""
KEPT = 0.95
"""Share of the spread of the clusters' centroids that suggested groups keep. On seven labelled
corpora, as many groups as k-means finds again in other data cost much more where there are many
classes (docs/notes/quality.md)."""
LEAST_PIXELS = 1e-9
"""Pixels that a cluster counts at least: a class of none still has a centroid."""


class Group(NamedTuple):
    """Classes to merge: `ids` into `into`, the largest first; no ids where a class stays alone."""

    into: int
    ids: tuple[int, ...]


class Count(NamedTuple):
    """How many groups are suggested, and why."""

    groups: int
    why: str


@dataclass(frozen=True)
class Hierarchy:
    """How classes come together, step by step.

    Attributes:
        ids: (n,) of the classes that are shown.
        named: those of them that have names.
        areas: (n,) share of all pixels that is of each class.
        joins: (m, 4) as of `merges.ward`, whose clusters are the places in `ids`.
    """

    ids: tuple[int, ...]
    named: tuple[int, ...]
    areas: Floats
    joins: Floats

    @classmethod
    def of(cls, classes: ClassNames, centroids: Floats, pixels: Floats) -> "Hierarchy":
        """The hierarchy of the classes that are shown.

        Args:
            classes: of K clusters, as they are now.
            centroids: (K, D).
            pixels: (K,) of each cluster.
        """
        ids, named = tuple(classes.kept()), tuple(classes.named())
        class_of = classes.display_table()[: len(pixels)]
        members = (class_of == np.array(ids)[:, None]) * np.maximum(pixels, LEAST_PIXELS)
        areas = members.sum(axis=1)
        means = members @ centroids / areas[:, None]
        joins = merges.ward(means, areas, [ids.index(number) for number in named])
        return cls(ids, named, areas / areas.sum(), joins)

    @property
    def fewest(self) -> int:
        """Groups that are left after all joins, and `LEAST_GROUPS` at least."""
        return max(len(self.ids) - len(self.joins), min(LEAST_GROUPS, len(self.ids)))

    def groups(self, count: int) -> list[Group]:
        """The classes in `count` groups, the largest first.

        Raises:
            OptionError: there cannot be so many, or so few.
        """
        if not self.fewest <= count <= len(self.ids):
            raise OptionError(
                f"the {len(self.ids)} classes cannot be merged into {count} groups; expected "
                f"{self.fewest} to {len(self.ids)}{self.remark}"
            )
        places = merges.groups(self.joins, len(self.ids), count)
        places.sort(key=lambda group: -float(self.areas[group].sum()))
        return [self._group(group) for group in places]

    @property
    def remark(self) -> str:
        """What names prevent."""
        if len(self.named) < 2:
            return ""
        return f"; {len(self.named)} classes have names, and those are not merged with each other"

    def _group(self, places: list[int]) -> Group:
        """A group, whose classes count as the one that has a name, else as the largest."""
        ids = [self.ids[place] for place in sorted(places, key=lambda at: -self.areas[at])]
        into = next((number for number in ids if number in self.named), ids[0])
        return Group(into, tuple(number for number in ids if number != into))


@dataclass(frozen=True)
class Suggestion:
    """Merges of the present classes.

    Attributes:
        groups: all of them, also those of one class; the largest first.
        suggested: the number of groups where none is requested.
    """

    hierarchy: Hierarchy
    groups: list[Group]
    suggested: Count

    def taken(self, classes: ClassNames) -> ClassNames:
        """The classes after the merges."""
        for group in self.groups:
            classes = classes.merged(group.ids, group.into)
        return classes

    def document(self) -> dict[str, Any]:
        """As `stego name suggested --json` prints it and the explorer reads it."""
        return {
            "groups": [group._asdict() for group in self.groups],
            "count": len(self.groups),
            "suggested": self.suggested.groups,
            "why": self.suggested.why,
            "fewest": self.hierarchy.fewest,
            "most": len(self.hierarchy.ids),
        }


def suggestion(summary: Summary, classes: ClassNames, groups: int | None = None) -> Suggestion:
    """Merges of classes into so many groups, or into as many as are suggested.

    Args:
        classes: of the workspace's current clusters, as they are now.
        groups: None takes as many as are suggested.

    Raises:
        OptionError: there cannot be so many groups.
    """
    path = f"{layout.clusters(summary.require('clusters'))}/{layout.CENTROIDS_FILE}"
    centroids = tables.read_tensors(summary.workspace.storage, path)["centroids"].astype(np.float64)
    pixels = summary.class_margins().pixels.astype(np.float64)
    hierarchy = Hierarchy.of(classes, centroids, pixels)
    kept = suggested_count(centroids, pixels)
    count = int(np.clip(kept.groups, hierarchy.fewest, len(hierarchy.ids)))
    suggested = Count(count, kept.why + hierarchy.remark if count > kept.groups else kept.why)
    return Suggestion(hierarchy, hierarchy.groups(count if groups is None else groups), suggested)


def suggested_count(centroids: Floats, pixels: Floats) -> Count:
    """How many groups clusters make, whatever people did with them: as few as keep `KEPT`.

    Args:
        centroids: (K, D).
        pixels: (K,) of each cluster.
    """
    count = merges.count_that_keeps(merges.ward(centroids, pixels), len(centroids), KEPT)
    return Count(count, f"they keep {KEPT:.0%} of what separates the {len(centroids)} clusters")
