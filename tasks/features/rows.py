"""Feature rows of several dumps as one table: global row = dump offset + row, in dump order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from tasks.engine.prefetch import ahead
from tasks.storage.run_cache import remembered
from tasks.workspace import arrays, layout
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from tasks.features.backbones import BackboneSpec

MIB = 2**20
SHARDS_AHEAD = 2
"""Shards that are fetched and decoded while the one before them is being copied."""


@dataclass(frozen=True)
class FeatureRows:
    """The rows of `features/KEY` for some dumps; small and picklable.

    Attributes:
        workspace: where they lie.
        key: of the features.
        dumps: in order.
    """

    workspace: Workspace
    key: str
    dumps: tuple[str, ...]

    def path(self, dump: str) -> str:
        """The Zarr group of one dump."""
        return layout.features(self.key, dump)

    def manifest(self, dump: str) -> dict[str, Any]:
        """The features stage's manifest of one dump."""
        return _manifest(self.workspace, self.path(dump))

    def counts(self) -> list[int]:
        """Rows of each dump."""
        return [int(self.manifest(dump)["rows"]) for dump in self.dumps]

    def offsets(self) -> NDArray[np.int64]:
        """First global row of each dump, and last of all the number of rows."""
        return np.concatenate([[0], np.cumsum(self.counts())]).astype(np.int64)

    @property
    def total(self) -> int:
        """Rows of all dumps."""
        return sum(self.counts())

    def inputs(self) -> dict[str, Any]:
        """What these rows are made from, for the keys of stages that read them."""
        return {
            "features": self.key,
            "dumps": [[dump, self.manifest(dump)["index"]] for dump in self.dumps],
        }

    def backbone(self) -> "BackboneSpec":
        """The backbone that made them."""
        from tasks.features.backbones import BackboneSpec  # torch takes seconds, and rows need none

        return BackboneSpec(**self.manifest(self.dumps[0])["backbone"])

    def shape(self) -> tuple[int, int, int]:
        """(h, w, C) of a row's patches."""
        array = arrays.open_array(self.workspace.storage, self.path(self.dumps[0]), "patches")
        _, height, width, channels = array.shape
        return height, width, channels

    def channels(self) -> int:
        """C of a row's pooled vector."""
        path = self.path(self.dumps[0])
        return int(arrays.open_array(self.workspace.storage, path, "pooled").shape[1])

    def nbytes(self) -> int:
        """Bytes of all patches."""
        height, width, channels = self.shape()
        return self.total * height * width * channels * 2

    def read(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Global rows of the array `patches`, `pooled` or `valid`, in the order asked for."""
        offsets = self.offsets()
        owner = np.searchsorted(offsets, rows, side="right") - 1
        if len(rows) and not 0 <= owner.min() <= owner.max() < len(self.dumps):
            raise WorkspaceError(f"rows {rows.min()} to {rows.max()} are not all in {self.dumps}")
        numbers = np.unique(owner) if len(rows) else [0]  # of no rows it tells the shape
        parts = {
            int(number): self._part(
                name, self.dumps[number], rows[owner == number] - offsets[number]
            )
            for number in numbers
        }
        first = next(iter(parts.values()))
        result = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for number, part in parts.items():
            result[owner == number] = part
        return result

    def _part(self, name: str, dump: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        if name == "valid":
            return _valid(self.workspace, self.path(dump))[rows]
        return arrays.read_rows(self.workspace.storage, self.path(dump), name, rows)

    def place(self, row: int) -> tuple[int, int, int]:
        """Number of the dump, of the drawn image in it, and of the crop that a global row shows."""
        offsets = self.offsets()
        number = int(np.searchsorted(offsets, row, side="right") - 1)
        crops = int(self.manifest(self.dumps[number])["crops"])
        return number, *divmod(row - int(offsets[number]), crops)

    def spans(self, size: int, dumps: Sequence[str] | None = None) -> list[NDArray[np.int64]]:
        """Global rows of some dumps, by default of all, in runs of at most `size`."""
        edges = self.offsets()
        rows = [
            np.arange(edges[number], edges[number + 1])
            for number, dump in enumerate(self.dumps)
            if dumps is None or dump in dumps
        ]
        every = np.concatenate(rows) if rows else np.empty(0, np.int64)
        return [every[first : first + size] for first in range(0, len(every), size)]

    def shards(self) -> list[NDArray[np.int64]]:
        """Global rows of each shard of the patches, in order."""
        found = []
        for dump, first, count in zip(self.dumps, self.offsets(), self.counts(), strict=False):
            patches = arrays.open_array(self.workspace.storage, self.path(dump), "patches")
            size = arrays.shard_rows(patches)
            rows = first + np.arange(count)
            found += [rows[start : start + size] for start in range(0, count, size)]
        return found

    def blocks(self, name: str, size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """All rows of an array in blocks, as (global rows, values)."""
        for rows in self.spans(size):
            yield rows, self.read(name, rows)

    def valid_blocks(
        self, name: str, spans: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """The valid ones of some runs of rows, as (global rows, values); read one run ahead."""

        def fetch(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
            valid = self.read("valid", rows)
            return rows[valid], self.read(name, rows)[valid]  # a run is read as a slice

        return (block for _, block in ahead(spans, fetch, depth=1))

    def renumbered(self, rows: NDArray[np.int64], source: "FeatureRows") -> NDArray[np.int64]:
        """Global rows of `source`, whose dumps are among these, as global rows of these.

        Negative numbers, which name no row, stay.
        """
        there, here = source.offsets(), dict(zip(self.dumps, self.offsets(), strict=False))
        shifts = np.array([here[dump] for dump in source.dumps], np.int64) - there[:-1]
        owner = np.searchsorted(there, rows, side="right") - 1
        return np.where(rows < 0, rows, rows + shifts[np.clip(owner, 0, len(shifts) - 1)])

    def valid(self) -> NDArray[np.bool_]:
        """(total,) which rows hold features."""
        return np.concatenate([block for _, block in self.blocks("valid", 2**20)])


@remembered(64)
def _manifest(workspace: Workspace, path: str) -> dict[str, Any]:
    return workspace.folder(path).manifest()


@remembered(64)
def _valid(workspace: Workspace, path: str) -> NDArray[np.bool_]:
    """A byte per row in as many files as there are patches: read once, asked for often."""
    return arrays.read_rows(workspace.storage, path, "valid", slice(None))


class PatchCache:
    """A reader of patches for training: from memory if they fit a budget, else from storage."""

    def __init__(self, rows: FeatureRows, budget_mib: int) -> None:
        """Load everything if it takes at most `budget_mib` MiB."""
        self.rows = rows
        self.held: NDArray[np.float16] | None = None
        if rows.nbytes() <= budget_mib * MIB:
            self.held = np.empty((rows.total, *rows.shape()), np.float16)
            for numbers, part in ahead(rows.shards(), partial(rows.read, "patches"), SHARDS_AHEAD):
                self.held[numbers] = part

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n, h, w, C) float16 patches of global rows."""
        return self.rows.read("patches", rows) if self.held is None else self.held[rows]


def feature_rows(workspace: Workspace, key: str, dumps: Sequence[str]) -> FeatureRows:
    """The rows of some dumps, all of them finished.

    Raises:
        WorkspaceError: the features of a dump are not finished.
    """
    rows = FeatureRows(workspace, key, tuple(dumps))
    rows.counts()
    return rows
