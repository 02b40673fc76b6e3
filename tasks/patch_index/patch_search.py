"""The index of stored patches in memory, and the search for those that resemble one patch."""

from dataclasses import dataclass
from threading import Condition
from typing import Any, NamedTuple

import faiss
import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from stego_core.errors import DamageError, WorkspaceError
from stego_core.search import patch_index
from stego_core.search.patch_index import NO_LIST, compared, first_of_each
from tasks.engine import machine
from tasks.patch_index import patch_rows
from tasks.patch_index.patch_rows import PatchRows
from tasks.storage.run_cache import current_run
from tasks.workspace import arrays, keys
from tasks.workspace.workspace import Workspace

COMPARED_IMAGES = 64
"""Images whose most promising crop is read and compared exactly."""
MORE_CROPS = 16
"""Further crops of these images or of others that are compared exactly."""
LIST_BYTES = 2
"""Bytes of the number of a patch's list, as it is stored."""
RANKED_PATCHES = 4096
"""Patches that a search ranks at first; more where they lie in fewer images than are compared."""


class PatchHit(NamedTuple):
    """A patch of the index, and its cosine with the query.

    Attributes:
        image: number among those sampled from the dump.
        crop: number in the image.
        token: number in the crop, row by row.
    """

    dump: str
    image: int
    crop: int
    token: int
    similarity: float


@dataclass(frozen=True)
class PatchSearch:
    """The codes of some dumps' patches in memory; several threads may search them.

    Of the index's lists, `probes` are scanned for a query.
    """

    patches: PatchRows
    index: faiss.IndexIVFPQ
    probes: int

    def candidates(
        self, query: NDArray[np.float32], without: int | None = None
    ) -> NDArray[np.int64]:
        """Feature rows that may hold the best patches of different images, by approximate cosines.

        The query is (C,) float32 of norm 1; `without` is the number of an image to leave out.
        """
        crops = self._ranked_crops(query, without)
        images, within = np.divmod(crops, self.patches.tiles())
        best = first_of_each(images)[:COMPARED_IMAGES]
        more = np.setdiff1d(np.arange(len(crops)), best)[:MORE_CROPS]
        ranks = np.concatenate([best, more])
        return np.asarray(images[ranks] * self.patches.crops() + within[ranks], np.int64)

    def _ranked_crops(self, query: NDArray[np.float32], without: int | None) -> NDArray[np.int64]:
        """Crops by the best approximate cosine of their patches: enough to compare, or all."""
        per_image, count = self.patches.per_image(), RANKED_PATCHES
        left_out = range(0)
        if without is not None:
            left_out = range(without * per_image, (without + 1) * per_image)
        while True:
            numbers, _ = patch_index.nearest(self.index, query, self.probes, count, left_out)
            crops = numbers // self.patches.tokens()
            crops = crops[first_of_each(crops)]
            images = len(np.unique(crops // self.patches.tiles()))
            enough = images >= COMPARED_IMAGES and len(crops) >= COMPARED_IMAGES + MORE_CROPS
            if enough or len(numbers) < count:
                return crops
            count *= 4

    def find(
        self, query: NDArray[np.float32], count: int, without: int | None = None
    ) -> list[PatchHit]:
        """The patches that resemble a query most, by exact cosines, one per image, best first."""
        rows = self.candidates(query, without)
        if not len(rows):
            return []
        features = self.patches.rows.read("patches", rows, scattered=True)
        features = features.reshape(len(rows), self.patches.tokens(), -1)
        cosines = compared(query, features).clip(-1, 1)
        best = cosines.max(axis=1)
        order = np.argsort(-best, kind="stable")
        one_per_image = order[first_of_each(rows[order] // self.patches.crops())[:count]]
        hits = []
        for rank in one_per_image.tolist():
            number, image, crop = self.patches.rows.location(int(rows[rank]))
            token, dump = int(cosines[rank].argmax()), self.patches.rows.dumps[number]
            hits.append(PatchHit(dump, image, crop, token, float(best[rank])))
        return hits


def index_memory(patches: int, code_bytes: int) -> int:
    """Bytes that an index of so many patches holds while it is loaded: codes, numbers, lists."""
    return patches * (code_bytes + patch_index.ID_BYTES + LIST_BYTES)


def empty_index(patches: PatchRows) -> faiss.IndexIVFPQ:
    """The trained index without any patch.

    Raises:
        DamageError: its bytes are not those that were written.
    """
    content, folder = patches.codebook_tensors()["index"], patches.codebook_folder()
    if keys.digest(content.tobytes()) != folder.manifest()["codebook"]:
        raise _damage(patches, folder.path, "it has another checksum")
    index = faiss.deserialize_index(content)
    assert isinstance(index, faiss.IndexIVFPQ)
    return index


def _damage(patches: PatchRows, path: str, reason: str) -> DamageError:
    return DamageError(
        f"{path} in {patches.storage.uri} is damaged ({reason}); remove that folder and run the "
        "same command again"
    )


_loaded: LRUCache[Any, faiss.IndexIVFPQ] = LRUCache(1)
_lock = Condition()


@cached(_loaded, lambda patches: (current_run(), patches), condition=_lock)
def index_of(patches: PatchRows) -> faiss.IndexIVFPQ:
    """The finished codes of some dumps in memory; the last ones stay there.

    Raises:
        CapacityError: they do not fit this machine's memory.
        DamageError: they cannot be read, or do not belong to the codebook.
    """
    with _lock:
        _loaded.clear()  # makes room before the next one is read
    index, storage = empty_index(patches), patches.storage
    needed = index_memory(patches.total(), index.code_size)
    machine.require_free(f"the index of {patches.total():,} patches", needed)
    paths = [patches.codes_folder(dump).path for dump in patches.rows.dumps]
    lists = [arrays.read_rows(storage, path, "lists", slice(None)) for path in paths]
    list_numbers = np.concatenate(lists)
    patch_index.reserve(index, list_numbers[list_numbers != NO_LIST])
    first = 0
    for path, numbers in zip(paths, lists, strict=True):
        array = arrays.open_array(storage, path, "codes")
        size = arrays.shard_rows(array)
        for start in range(0, array.shape[0], size):
            span = slice(start, start + size)
            codes = arrays.read_rows(storage, path, "codes", span)
            coded = np.flatnonzero(numbers[span] != NO_LIST)
            try:
                index.add_sa_codes(codes[coded], first + span.start + coded)
            except (RuntimeError, AssertionError):  # faiss checks the list and the width
                raise _damage(patches, path, "its codes are not of this codebook") from None
        first += len(numbers)
    return index


def search(workspace: Workspace) -> PatchSearch:
    """The index of all dumps that can be searched, read once.

    Raises:
        WorkspaceError: there is none; says what to do.
        CapacityError: it does not fit this machine's memory.
    """
    trained, dumps = PatchRows.trained(workspace), patch_rows.searchable(workspace)
    if not dumps:
        raise WorkspaceError(
            f"the patches of {workspace.storage.uri} are not indexed yet; run `stego explore`, "
            "which does it first"
        )
    patches = trained.of_dumps(tuple(dumps))
    probes = int(patches.recall_folder().manifest()["probes"])
    return PatchSearch(patches, index_of(patches), probes)
