"""The index of stored patches as it is read: its numbers, its lists in memory, a search of it.

Patches are numbered row by row: of the crops that tile an image, one or the four quarters, in the
order of the images that were drawn, dump by dump.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Condition
from typing import Any, NamedTuple

import faiss
import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from stego_core.errors import DamageError
from stego_core.search import patch_index
from stego_core.search.patch_index import NO_LIST, compared, first_of_each
from stego_core.search.patch_map import QUARTERS
from tasks.engine import machine
from tasks.features.rows import FeatureRows
from tasks.patch_index import patch_folder
from tasks.storage.run_cache import current_run, remembered
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.ledger import Folder

CODEBOOK_FILE = layout.CODEBOOK_FILE
COMPARED = 64
"""Images whose most promising crop is read and compared exactly."""
MORE = 16
"""Further crops of these images or of others that are compared exactly."""
LIST_BYTES = 2
"""Bytes of the number of a patch's list, as it is stored."""
RANKED = 4096
"""Patches that a search ranks at first; more where they lie in fewer images than are compared."""


class PatchHit(NamedTuple):
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
        return patch_folder.codes_folder(self.rows.workspace, self.path, dump)

    def recall_folder(self) -> Folder:
        """Where it lies how many lists to scan for these dumps together."""
        return patch_folder.recall_folder(self.rows.workspace, self.path, self.rows.dumps)

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

    def codebook_tensors(self) -> dict[str, NDArray[Any]]:
        """Of the codebook's file.

        `index` holds the bytes of an empty one, as faiss writes them; `queries` (Q, C) float32 of
        norm 1 are what the recall is measured by, `images` (Q,) int64 those that they are from.
        """
        return _tensors(self.storage, f"{self.path}/codebook/{CODEBOOK_FILE}")

    def empty_index(self) -> faiss.IndexIVFPQ:
        """The trained index without any patch.

        Raises:
            DamageError: its bytes are not those that were written.
        """
        content = self.codebook_tensors()["index"]
        if keys.digest(content.tobytes()) != self.codebook_folder().manifest()["codebook"]:
            raise _damage(self.storage, f"{self.path}/codebook", "it has another checksum")
        index = faiss.deserialize_index(content)
        assert isinstance(index, faiss.IndexIVFPQ)
        return index


@remembered(16)
def shape_of(rows: FeatureRows) -> tuple[int, int, int]:
    """(h, w, C) of a row's patches, read once: a search asks for it again and again."""
    return rows.shape()


@remembered(2)
def _tensors(storage: Storage, path: str) -> dict[str, NDArray[Any]]:
    return tables.read_tensors(storage, path)


def _damage(storage: Storage, path: str, reason: object) -> DamageError:
    return DamageError(
        f"{path} in {storage.uri} is damaged ({reason}); remove that folder and run the same "
        "command again"
    )


@dataclass(frozen=True)
class PatchSearch:
    """The codes of some dumps' patches in memory, safe to ask from several threads.

    Attributes:
        patches: which.
        index: their codes, by their numbers.
        probes: lists that are scanned for a query.
    """

    patches: PatchRows
    index: faiss.IndexIVFPQ
    probes: int

    def candidates(
        self, query: NDArray[np.float32], without: int | None = None
    ) -> NDArray[np.int64]:
        """Feature rows that may hold the best patches of different images, by approximate cosines.

        Args:
            query: (C,) float32 of norm 1.
            without: number of an image among those drawn of all dumps; it is left out.
        """
        crops = self._ranked_crops(query, without)
        images, within = np.divmod(crops, self.patches.tiles())
        best = first_of_each(images)[:COMPARED]
        more = np.setdiff1d(np.arange(len(crops)), best)[:MORE]
        chosen = np.concatenate([best, more])
        return np.asarray(images[chosen] * self.patches.crops() + within[chosen], np.int64)

    def _ranked_crops(self, query: NDArray[np.float32], without: int | None) -> NDArray[np.int64]:
        """Crops by the best approximate cosine of their patches: enough to compare, or all."""
        per_image, count = self.patches.per_image(), RANKED
        own = range(0) if without is None else range(without * per_image, (without + 1) * per_image)
        while True:
            numbers, _ = patch_index.nearest(self.index, query, self.probes, count, own)
            crops = numbers // self.patches.tokens()
            crops = crops[first_of_each(crops)]
            images = len(np.unique(crops // self.patches.tiles()))
            enough = images >= COMPARED and len(crops) >= COMPARED + MORE
            if enough or len(numbers) < count:
                return crops
            count *= 4

    def find(
        self, query: NDArray[np.float32], count: int, without: int | None = None
    ) -> list[PatchHit]:
        """The patches that resemble a query most, one per image, best first.

        The similarities are exact; the manifest of `recall_folder` tells how many of the images
        that ought to be found are.
        """
        rows = self.candidates(query, without)
        if not len(rows):
            return []
        cosines = compared(query, self._features(rows)).clip(-1, 1)
        best = cosines.max(axis=1)
        order = np.argsort(-best, kind="stable")
        kept = order[first_of_each(rows[order] // self.patches.crops())[:count]]
        return [
            self._patch(int(rows[each]), int(cosines[each].argmax()), best[each])
            for each in kept.tolist()
        ]

    def _patch(self, row: int, token: int, similarity: float) -> PatchHit:
        number, image, crop = self.patches.rows.location(row)
        return PatchHit(self.patches.rows.dumps[number], image, crop, token, float(similarity))

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
    """Bytes that an index of so many patches holds while it is loaded: codes, numbers, lists."""
    return patches * (code_bytes + patch_index.ID_BYTES + LIST_BYTES)


_kept: LRUCache[Any, faiss.IndexIVFPQ] = LRUCache(1)
_turn = Condition()


@cached(_kept, lambda patches: (current_run(), patches), condition=_turn)
def index_of(patches: PatchRows) -> faiss.IndexIVFPQ:
    """The finished codes of some dumps in memory; the last ones asked for stay there.

    Raises:
        CapacityError: they do not fit this machine's memory.
        DamageError: they cannot be read, or do not belong to the codebook.
    """
    with _turn:
        _kept.clear()  # it makes room before the next one is read
    return _loaded(patches)


def _loaded(patches: PatchRows) -> faiss.IndexIVFPQ:
    """Read shard by shard."""
    index, storage = patches.empty_index(), patches.storage
    needed = index_memory(patches.total(), index.code_size)
    machine.require_free(f"the index of {patches.total():,} patches", needed)
    paths = [patches.codes_folder(dump).path for dump in patches.rows.dumps]
    lists = [arrays.read_rows(storage, path, "lists", slice(None)) for path in paths]
    every = np.concatenate(lists)
    patch_index.reserve(index, every[every != NO_LIST])
    first = 0
    for path, numbers in zip(paths, lists, strict=True):
        for span in _spans(storage, path):
            codes = arrays.read_rows(storage, path, "codes", span)
            coded = np.flatnonzero(numbers[span] != NO_LIST)
            try:
                index.add_sa_codes(codes[coded], first + span.start + coded)
            except (RuntimeError, AssertionError):  # faiss checks the list and the width
                raise _damage(storage, path, "its codes are not of this codebook") from None
        first += len(numbers)
    return index


def _spans(storage: Storage, path: str) -> Iterator[slice]:
    """The patches of each shard of a dump's codes."""
    array = arrays.open_array(storage, path, "codes")
    size = arrays.shard_rows(array)
    for first in range(0, array.shape[0], size):
        yield slice(first, first + size)
