"""Patches of some dumps by their numbers, and where their index lies; loads no torch or faiss.

Patches are numbered row by row: of the crops that tile an image, one or the four quarters, in the
order of the sampled images, dump by dump.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from stego_core.images.geometry import QUARTERS
from tasks.features.rows import FeatureRows
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

VERSION = 2
"""Raised whenever the same patches would give another index."""


@dataclass(frozen=True)
class PatchRows:
    """Patches of the feature rows of some dumps, and the path of their index, `patches/KEY`.

    It is small and picklable.
    """

    rows: FeatureRows
    path: str

    @classmethod
    def trained(cls, workspace: Workspace) -> "PatchRows":
        """Patches of the dumps that the head was trained on; the codebook is made from them.

        Raises:
            WorkspaceError: they have no features.
        """
        summary = Summary(workspace)
        key, dumps = summary.keys.get("features"), summary.last_run.get("dumps", [])
        if key is None or not dumps:
            raise WorkspaceError(
                f"{workspace.storage.uri} has no stored features, so its patches cannot be "
                "searched; an imported head has none, train one with `stego run`"
            )
        rows = FeatureRows(workspace, key, tuple(dumps))
        return cls(rows, layout.patches(keys.key("patches", VERSION, None, rows.inputs())))

    @property
    def storage(self) -> Storage:
        """The workspace's files."""
        return self.rows.storage

    def of_dumps(self, dumps: tuple[str, ...]) -> "PatchRows":
        """Patches of other dumps in the same index."""
        return replace(self, rows=replace(self.rows, dumps=dumps))

    def codebook_folder(self) -> Folder:
        """Where the codebook lies."""
        return Folder(self.storage, f"{self.path}/codebook")

    def codes_folder(self, dump: str) -> Folder:
        """Where a dump's codes lie, a Zarr group."""
        return Folder(self.storage, f"{self.path}/{layout.zarr(dump)}")

    def recall_folder(self) -> Folder:
        """The folder of the number of lists to scan for these dumps: the last part of an index."""
        dumps = keys.digest(keys.canonical(self.rows.dumps))[:16]
        return Folder(self.storage, f"{self.path}/recall/{dumps}")

    def crops(self) -> int:
        """Feature rows of an image."""
        return self.rows.crops()

    def tiles(self) -> int:
        """How many of an image's feature rows tile it: the first ones."""
        return min(self.crops(), QUARTERS)

    def tokens(self) -> int:
        """Patches of a crop."""
        height, width, _ = self.rows.shape()
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
        return _tensors(self.storage, f"{self.codebook_folder().path}/{layout.CODEBOOK_FILE}")


@remembered(2)
def _tensors(storage: Storage, path: str) -> dict[str, NDArray[Any]]:
    return tables.read_tensors(storage, path)


def searchable(workspace: Workspace) -> list[str]:
    """Dumps whose patches can be searched, in order of arrival; none without features.

    While a later dump is being added, they are the dumps before it. The number of lists to scan is
    measured last, once the codes of all these dumps are there, and stands for them.
    """
    try:
        trained = PatchRows.trained(workspace)
    except WorkspaceError:
        return []
    storage = workspace.storage
    names, measured = set(storage.names(trained.path)), set(storage.names(f"{trained.path}/recall"))
    coded = [dump for dump in workspace.dumps() if layout.zarr(dump) in names] if measured else []
    while coded:
        folder = trained.of_dumps(tuple(coded)).recall_folder()
        if folder.path.rpartition("/")[2] in measured and folder.finished:
            break
        coded.pop()
    return coded
