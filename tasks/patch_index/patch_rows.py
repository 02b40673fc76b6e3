"""Patches of some dumps by their numbers, and where their index lies.

Patches are numbered row by row: of the crops that tile an image, one or the four quarters, in the
order of the sampled images, dump by dump.
"""

from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from stego_core.errors import DamageError
from stego_core.search.patch_map import QUARTERS
from tasks.features.rows import FeatureRows
from tasks.patch_index import patch_folder
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import keys, tables
from tasks.workspace.layout import CODEBOOK_FILE
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace


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

    def of_dumps(self, dumps: tuple[str, ...]) -> "PatchRows":
        """Patches of other dumps in the same index."""
        return replace(self, rows=replace(self.rows, dumps=dumps))

    def codebook_folder(self) -> Folder:
        """Where the codebook lies."""
        return Folder(self.storage, f"{self.path}/codebook")

    def codes_folder(self, dump: str) -> Folder:
        """Where a dump's codes lie, a Zarr group."""
        return patch_folder.codes_folder(self.rows.workspace, self.path, dump)

    def recall_folder(self) -> Folder:
        """The folder of the number of lists to scan for these dumps together."""
        return patch_folder.recall_folder(self.rows.workspace, self.path, self.rows.dumps)

    def crops(self) -> int:
        """Feature rows of an image."""
        return self.rows.crops()

    def tiles(self) -> int:
        """How many of an image's feature rows tile it: the first ones."""
        return min(self.crops(), QUARTERS)

    def tokens(self) -> int:
        """Patches of a crop."""
        height, width, _ = shape_of(self.rows)
        return height * width

    def per_image(self) -> int:
        """Patches of an image."""
        return self.tiles() * self.tokens()

    def total(self) -> int:
        """Patches of all dumps, with the invalid ones."""
        return self.rows.total // self.crops() * self.per_image()

    def tiling(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The feature rows among these that tile images."""
        return rows[rows % self.crops() < self.tiles()]

    def codebook_tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays of the codebook's file.

        `index` holds the bytes of an empty index, as faiss writes them; `queries` (Q, C) float32 of
        norm 1 are the patches that the recall is measured on, `images` (Q,) int64 their images.
        """
        return _tensors(self.storage, f"{self.path}/codebook/{CODEBOOK_FILE}")

    def empty_index(self) -> faiss.IndexIVFPQ:
        """The trained index without any patch.

        Raises:
            DamageError: its bytes are not those that were written.
        """
        content = self.codebook_tensors()["index"]
        if keys.digest(content.tobytes()) != self.codebook_folder().manifest()["codebook"]:
            raise damage(self.storage, f"{self.path}/codebook", "it has another checksum")
        index = faiss.deserialize_index(content)
        assert isinstance(index, faiss.IndexIVFPQ)
        return index


@remembered(16)
def shape_of(rows: FeatureRows) -> tuple[int, int, int]:
    """(h, w, C) of a row's patches, read once: every search needs it several times."""
    return rows.shape()


@remembered(2)
def _tensors(storage: Storage, path: str) -> dict[str, NDArray[Any]]:
    return tables.read_tensors(storage, path)


def damage(storage: Storage, path: str, reason: str) -> DamageError:
    """The error for a damaged part of the index."""
    return DamageError(
        f"{path} in {storage.uri} is damaged ({reason}); remove that folder and run the same "
        "command again"
    )


def patch_rows(workspace: Workspace) -> PatchRows:
    """Patches of the dumps that the head was trained on.

    Raises:
        WorkspaceError: there are no features.
    """
    rows = patch_folder.trained_rows(workspace)
    return PatchRows(rows, patch_folder.index_path(rows))
