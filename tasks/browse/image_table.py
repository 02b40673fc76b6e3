"""What is known of a dump's images that have masks, column by column in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.index import IndexReader
from tasks.masks import confidence_table
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder

LEAST_SHARE = 0.005
"""An image shows a class if more than this share of its pixels is of it."""


@dataclass(frozen=True)
class Item:
    """One image of the gallery, all shares 0 to 1.

    Attributes:
        dump: whose image.
        row: in the dump's index.
        image_id: as in the index.
        path: of the image's file, below the dump's folder.
        height: pixels, as displayed.
        width: pixels, as displayed.
        doubt: of its pixels and of its classes.
        margin: mean margin of its pixels, 1 where all are sure.
        doubtful: share of its pixels that are doubtful.
        labelled: whether it has a true label.
        share: of its pixels that are of the class asked for; None where none was.
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
        dump: which one.
        rows: (n,) int64 in its index.
        labelled: (n,) bool.
        doubt, margin, doubtful: (n,) float32.
        shares: (K, n) float32, of each cluster of the pixels of each image.
        texts: the columns of strings and sizes.
    """

    dump: str
    rows: NDArray[np.int64]
    labelled: NDArray[np.bool_]
    doubt: NDArray[np.float32]
    margin: NDArray[np.float32]
    doubtful: NDArray[np.float32]
    shares: NDArray[np.float32]
    texts: dict[str, list[Any]]

    @classmethod
    def read(cls, folder: Folder, index: IndexReader) -> "ImageTable":
        """From the table of confidence and the index."""
        count = len(folder.manifest()["pixels"])
        shares = [f"share_{c}" for c in range(count)]
        names = [*confidence_table.IMAGE_COLUMNS, *shares]
        columns = tables.read_columns(
            folder.storage, f"{folder.path}/{layout.CONFIDENCE_FILE}", names
        )
        digests = [one for part in index.column("label_digest") for one in part]
        labelled = np.array([digest is not None for digest in digests], np.bool_)
        return cls(
            index.dump,
            columns["row"],
            labelled[columns["row"]],
            columns["doubt"],
            columns["margin"],
            columns["doubtful"],
            np.stack([columns[name] for name in shares]),
            {name: columns[name].tolist() for name in ("image_id", "path", "height", "width")},
        )

    def share(self, members: Sequence[int] | None) -> NDArray[np.float32]:
        """(n,) share of some clusters together."""
        return np.asarray(self.shares[list(members or [])].sum(axis=0))

    def found(self, members: Sequence[int] | None, labelled: bool | None) -> NDArray[np.int64]:
        """Places of the images that show some clusters, and that are labelled or not."""
        wanted = np.ones(len(self.rows), np.bool_)
        if members is not None:
            wanted &= self.share(members) > LEAST_SHARE
        if labelled is not None:
            wanted &= self.labelled == labelled
        return np.flatnonzero(wanted)

    def item(self, place: int, members: Sequence[int] | None) -> Item:
        """One image."""
        return Item(
            dump=self.dump,
            row=int(self.rows[place]),
            **{name: values[place] for name, values in self.texts.items()},
            doubt=float(self.doubt[place]),
            margin=float(self.margin[place]),
            doubtful=float(self.doubtful[place]),
            labelled=bool(self.labelled[place]),
            share=None if members is None else float(self.shares[list(members), place].sum()),
        )
