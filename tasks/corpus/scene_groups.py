"""Registered images: which images of a dump show the same scene, pixel by pixel."""

import itertools
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError
from tasks.corpus.index import IndexReader

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SceneGroups:
    """The scenes of registered images: images of one folder show the same one.

    Attributes:
        scene: (n,) int64, the scene of each image.
        members: (n,) int64, all images, those of the first scene first.
        first: (scenes + 1,) int64; `members[first[s] : first[s + 1]]` show scene s.
        rank: (n,) int64, the place of each image among those of its scene, from 0.
    """

    scene: Rows
    members: Rows
    first: Rows
    rank: Rows

    @classmethod
    def of_folders(cls, index: IndexReader) -> "SceneGroups":
        """The scenes of a dump.

        Raises:
            InputError: images of one folder differ in size, or no folder has two.
        """
        paths, heights, widths = (
            list(itertools.chain.from_iterable(index.column(name)))
            for name in ("path", "height", "width")
        )
        sizes: dict[str, tuple[int, int, str]] = {}
        for path, *size in zip(paths, heights, widths, strict=True):
            *expected, known = sizes.setdefault(_folder(path), (*size, path))
            if size != expected:
                raise InputError(
                    f"{path} has {size[1]}x{size[0]} pixels and {known} {expected[1]}x"
                    f"{expected[0]}; with --registered, images of one folder are of one size"
                )
        if len(sizes) == len(paths):
            raise InputError(
                "no folder has two images; with --registered, each folder holds several images of "
                "one scene"
            )
        _, scene = np.unique([_folder(path) for path in paths], return_inverse=True)
        return cls.of_scenes(scene.astype(np.int64))

    @classmethod
    def of_scenes(cls, scene: Rows) -> "SceneGroups":
        """Groups from the scene (n,) of each image, numbered from 0 without a gap."""
        members = np.argsort(scene, kind="stable")
        first = np.append(0, np.cumsum(np.bincount(scene)))
        rank = np.argsort(members) - first[scene]
        return cls(scene, members, first, rank)

    def partners(self, rows: Rows, generator: np.random.Generator) -> Rows:
        """Another image of the same scene for each row; the row itself where there is no other."""
        first = self.first[self.scene[rows]]
        count = self.first[self.scene[rows] + 1] - first
        step = 1 + generator.integers(np.maximum(count - 1, 1))
        return np.asarray(self.members[first + (self.rank[rows] + step) % count])

    def siblings(self, row: int) -> list[int]:
        """All images of a row's scene, beginning with the row."""
        first, last = self.first[self.scene[row] : self.scene[row] + 2]
        return [int(other) for other in np.roll(self.members[first:last], -self.rank[row])]


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)
