"""A table of a dump's images that have masks, column by column in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.index import IndexReader
from tasks.masks import confidence_table
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder

LEAST_SHARE = 0.005
"""An image shows a class if more than this share of its pixels belongs to it."""


@dataclass(frozen=True)
class Item:
    """One image of the gallery, all shares 0 to 1.

    Attributes:
        dump, row, image_id, path: as in the dump's index.
        height, width: pixels, as displayed.
        doubt, margin, doubtful: as in `UncertainImage`.
        labelled: whether it has a true label.
        share: of its pixels that are of the requested class; None without one.
    """

    dump: str
    row: int
    image_id: str
    path: str
    height: int
    width: int
    doubt: float
    margin: float
    doubtful: float
    labelled: bool
    share: float | None = None


@dataclass(frozen=True)
class ImageTable:
    """A dump's n images that have masks, in the order of the index.

    Attributes:
        columns: (n,) arrays of the table of confidence, by its column names.
        labelled: (n,) bool.
        shares: (K, n) float32, of each cluster of the pixels of each image.
    """

    dump: str
    columns: dict[str, NDArray[Any]]
    labelled: NDArray[np.bool_]
    shares: NDArray[np.float32]

    @classmethod
    def read(cls, folder: Folder, index: IndexReader) -> "ImageTable":
        """From the table of confidence and the index."""
        shares = [f"share_{c}" for c in range(len(folder.manifest()["pixels"]))]
        names = [*confidence_table.IMAGE_COLUMNS, *shares]
        path = f"{folder.path}/{layout.CONFIDENCE_FILE}"
        columns = tables.read_columns(folder.storage, path, names)
        digests = chain.from_iterable(index.column("label_digest"))
        labelled = np.array([digest is not None for digest in digests], np.bool_)
        stacked = np.stack([columns.pop(name) for name in shares])
        return cls(index.dump, columns, labelled[columns["row"]], stacked)

    def share(self, members: Sequence[int] | None) -> NDArray[np.float32]:
        """(n,) share of some clusters together."""
        return np.asarray(self.shares[list(members or [])].sum(axis=0))

    def matching(self, members: Sequence[int] | None, labelled: bool | None) -> NDArray[np.int64]:
        """Numbers of the images that show some clusters, and that are labelled or not."""
        matches = np.ones(len(self.labelled), np.bool_)
        if members is not None:
            matches &= self.share(members) > LEAST_SHARE
        if labelled is not None:
            matches &= self.labelled == labelled
        return np.flatnonzero(matches)

    def item(self, number: int, members: Sequence[int] | None) -> Item:
        """One image, by its number in the table."""
        one = slice(number, number + 1)
        return Item(
            dump=self.dump,
            **{name: values[one].tolist()[0] for name, values in self.columns.items()},
            labelled=bool(self.labelled[number]),
            share=None if members is None else float(self.shares[list(members), number].sum()),
        )
