"""The index of stored patches as it is read: its numbers, its codes in memory, a search of it.

Patches are numbered row by row: of the crops that tile an image, one or the four quarters, in the
order of the images that were drawn, dump by dump.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Condition
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from stego_core.patchmap import QUARTERS
from stego_core.patchsearch import Codebook, PatchIndex, best_groups, compared
from tasks import machine, patchkey
from tasks.rows import FeatureRows
from tasks.workspace import arrays, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.remembered import current, remembered
from tasks.workspace.storage import Storage

CODEBOOK_FILE = "codebook.safetensors"
COMPARED, MORE = 64, 16
"""Crops that are read and compared exactly: the most promising one of so many images, and so many
more of these or others."""


class Found(NamedTuple):
    """A patch of the index.

    Attributes:
        dump: whose image.
        place: of the image among those drawn from the dump.
        crop: of the image.
        token: number of the patch in the crop, row by row.
        similarity: its cosine with the query.
    """

    dump: str
    place: int
    crop: int
    token: int
    similarity: float


@dataclass(frozen=True)
class PatchRows:
    """Patches of some dumps, and where their index lies; small and picklable.

    Attributes:
        rows: feature rows of the dumps.
        path: of the index, `patches/KEY`.
    """

    rows: FeatureRows
    path: str

    @property
    def storage(self) -> Storage:
        """The workspace's files."""
        return self.rows.workspace.storage

    def of(self, dumps: tuple[str, ...]) -> "PatchRows":
        """Those of other dumps."""
        return replace(self, rows=replace(self.rows, dumps=dumps))

    def codebook_folder(self) -> Folder:
        """Where the codebook lies."""
        return Folder(self.storage, f"{self.path}/codebook")

    def codes_folder(self, dump: str) -> Folder:
        """Where a dump's codes lie, a Zarr group."""
        return patchkey.codes_folder(self.rows.workspace, self.path, dump)

    def recall_folder(self) -> Folder:
        """Where it lies how many cells to scan for these dumps together."""
        return patchkey.recall_folder(self.rows.workspace, self.path, self.rows.dumps)

    def crops(self) -> int:
        """Feature rows of an image."""
        return int(self.rows.manifest(self.rows.dumps[0])["crops"])

    def tiles(self) -> int:
        """How many of these tile the image, the first ones."""
        return min(self.crops(), QUARTERS)

    def tokens(self) -> int:
        """Patches of a crop."""
        height, width, _ = shape_of(self.rows)
        return height * width

    def per_image(self) -> int:
        """Patches of an image."""
        return self.tiles() * self.tokens()

    def total(self) -> int:
        """Patches of all dumps, invalid ones among them."""
        return self.rows.total // self.crops() * self.per_image()

    def tiling(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some feature rows that tile images."""
        return rows[rows % self.crops() < self.tiles()]

    def codebook(self) -> Codebook:
        """Of the finished folder."""
        tensors = codebook_tensors(self.storage, self.path)
        return Codebook(tensors["centroids"], tensors["centres"])

    def cells(self) -> list[NDArray[np.int16]]:
        """Of every patch, dump by dump."""
        paths = [self.codes_folder(dump).path for dump in self.rows.dumps]
        return [arrays.read_rows(self.storage, path, "cells", slice(None)) for path in paths]


@remembered(16)
def shape_of(rows: FeatureRows) -> tuple[int, int, int]:
    """(h, w, C) of a row's patches, read once: a search asks for it again and again."""
    return rows.shape()


@remembered(2)
def codebook_tensors(storage: Storage, path: str) -> dict[str, NDArray[Any]]:
    """`centroids` and `centres` of the codebook, `queries` by which the recall is measured."""
    return tables.read_tensors(storage, f"{path}/codebook/{CODEBOOK_FILE}")


@dataclass(frozen=True)
class PatchSearch:
    """The codes of some dumps' patches in memory, safe to ask from several threads.

    Attributes:
        patches: which.
        index: their codes.
        probes: cells that are scanned for a query.
    """

    patches: PatchRows
    index: PatchIndex
    probes: int

    def candidates(
        self, query: NDArray[np.float32], without: int | None = None
    ) -> NDArray[np.int64]:
        """Feature rows that may hold the best patches of different images, by approximate cosines.

        Args:
            query: (C,) float32 of norm 1.
            without: number of an image among those drawn of all dumps; it is left out.
        """
        cells = self.index.nearest_cells(query)[: self.probes]
        numbers, cosines = self.index.scan(query, cells)
        crops = numbers // self.patches.tokens()
        if without is not None:
            others = crops // self.patches.tiles() != without
            crops, cosines = crops[others], cosines[others]
        ranked, _ = best_groups(crops, cosines, len(crops))
        images, within = np.divmod(ranked, self.patches.tiles())
        _, first = np.unique(images, return_index=True)
        chosen = np.sort(first)[:COMPARED]
        more = np.setdiff1d(np.arange(len(ranked)), chosen)[:MORE]
        chosen = np.concatenate([chosen, more])
        return np.asarray(images[chosen] * self.patches.crops() + within[chosen], np.int64)

    def find(
        self, query: NDArray[np.float32], count: int, without: int | None = None
    ) -> list[Found]:
        """The patches that resemble a query most, one per image, best first.

        The similarities are exact; the manifest of `recall_folder` tells how many of the images
        that ought to be found are.
        """
        rows = self.candidates(query, without)
        if not len(rows):
            return []
        cosines = compared(query, self._features(rows)).clip(-1, 1)
        best = cosines.max(axis=1)
        _, places = best_groups(rows // self.patches.crops(), best, count)
        found = []
        for place in places.tolist():
            number, image, crop = self.patches.rows.place(int(rows[place]))
            token, dump = int(cosines[place].argmax()), self.patches.rows.dumps[number]
            found.append(Found(dump, image, crop, token, float(best[place])))
        return found

    def _features(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n, m, C) patches of some feature rows, as they are stored."""
        source, offsets = self.patches.rows, self.patches.rows.offsets()
        owner = np.searchsorted(offsets, rows, side="right") - 1
        result = np.empty((len(rows), *shape_of(source)), np.float16)
        for number in np.unique(owner).tolist():
            own = owner == number
            place = self.patches.storage, source.path(source.dumps[number]), "patches"
            result[own] = arrays.read_scattered(*place, rows[own] - offsets[number])
        return result.reshape(len(rows), self.patches.tokens(), -1)


def index_memory(patches: int, code_bytes: int) -> int:
    """Bytes that an index of so many patches holds while it is loaded: cells, then all."""
    return patches * (code_bytes + 4 + 2)


_kept: LRUCache[Any, PatchIndex] = LRUCache(1)
_turn = Condition()


@cached(_kept, lambda patches: (current(), patches), condition=_turn)
def index_of(patches: PatchRows) -> PatchIndex:
    """The finished codes of some dumps in memory; the last ones asked for stay there.

    Raises:
        CapacityError: they do not fit this machine's memory.
    """
    with _turn:
        _kept.clear()  # it makes room before the next one is read
    return _loaded(patches)


def _loaded(patches: PatchRows) -> PatchIndex:
    """Read shard by shard."""
    codebook, cells = patches.codebook(), patches.cells()
    needed = index_memory(patches.total(), len(codebook.centres))
    machine.require_free(f"the index of {patches.total():,} patches", needed)
    counts = np.zeros(len(codebook.centroids), np.int64)
    for part in cells:
        counts += np.bincount(part[part >= 0], minlength=len(counts))

    def parts() -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint8], int]]:
        first = 0
        for dump, own in zip(patches.rows.dumps, cells, strict=True):
            path = patches.codes_folder(dump).path
            array = arrays.open_array(patches.storage, path, "codes")
            size = arrays.shard_rows(array)
            for begin in range(0, len(own), size):
                span = slice(begin, min(begin + size, len(own)))
                codes = arrays.read_rows(patches.storage, path, "codes", span)
                yield own[span], codes, first + begin
            first += len(own)

    return PatchIndex.create(codebook, counts, parts())
