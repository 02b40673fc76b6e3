"""A table of a dump's images that have masks, of which a page reads what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.index import IndexReader
from tasks.masks import confidence_table
from tasks.workspace import tables
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

    A column is read when it is first asked for; of a page's images, only their own rows.
    """

    folder: Folder  # of the masks
    index: IndexReader  # of the dump
    _columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def dump(self) -> str:
        """The dump's name."""
        return self.index.dump

    def column(self, name: str) -> NDArray[Any]:
        """(n,) of a column of the table of confidence, by its name."""
        if name not in self._columns:
            path = confidence_table.path(self.folder)
            self._columns[name] = tables.read_columns(self.folder.storage, path, [name])[name]
        return self._columns[name]

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(n,) whether an image has a true label."""
        digests = (part["label_digest"] for part in self.index.columns(["label_digest"]))
        labelled = np.array([digest is not None for part in digests for digest in part], np.bool_)
        return np.asarray(labelled[self.column("row")])

    def share(self, members: Sequence[int] | None) -> NDArray[np.float32]:
        """(n,) share of some clusters together."""
        shares = [self.column(f"share_{c}") for c in members or []]
        return np.sum(shares, axis=0) if shares else np.zeros(len(self.column("row")), np.float32)

    def matching(self, members: Sequence[int] | None, labelled: bool | None) -> NDArray[np.int64]:
        """Numbers of the images that show some clusters, and that are labelled or not."""
        matches = np.ones(len(self.column("row")), np.bool_)
        if members is not None:
            matches &= self.share(members) > LEAST_SHARE
        if labelled is not None:
            matches &= self.labelled == labelled
        return np.flatnonzero(matches)

    def items(self, numbers: NDArray[np.int64], members: Sequence[int] | None) -> list[Item]:
        """Some images, by their numbers in the table."""
        shares = [f"share_{c}" for c in members or []]
        path, storage = confidence_table.path(self.folder), self.folder.storage
        rows = tables.read_rows(storage, path, numbers, [*confidence_table.IMAGE_COLUMNS, *shares])
        entries = self.index.entries(self.column("row")[numbers], ["label_digest"])
        return [
            Item(
                dump=self.dump,
                **{name: row[name] for name in confidence_table.IMAGE_COLUMNS},
                labelled=entry["label_digest"] is not None,
                share=None if members is None else sum(row[name] for name in shares),
            )
            for row, entry in zip(rows, entries, strict=True)
        ]
