"""Feature rows of several dumps as one table: global row = dump offset + row, in dump order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from tasks.engine.prefetch import ahead
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import arrays, layout
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from tasks.features.backbones import BackboneSpec

MIB = 2**20
"""Bytes of a MiB."""
DUMPS = 2048
"""Dumps whose manifests and small arrays are kept: rows of all of them are read again and again."""
SHARDS_AHEAD = 2
"""Shards that are fetched and decoded while the one before them is being copied."""


@dataclass(frozen=True)
class FeatureRows:
    """The rows of `features/KEY` for some dumps, in their order; small and picklable."""

    workspace: Workspace
    key: str
    dumps: tuple[str, ...]

    @property
    def storage(self) -> Storage:
        """The workspace's files."""
        return self.workspace.storage

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

    def first_row(self, dump: str) -> int:
        """First global row of one of the dumps."""
        return int(self.offsets()[self.dumps.index(dump)])

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

    @remembered(16)
    def shape(self) -> tuple[int, int, int]:
        """(h, w, C) of a row's patches."""
        _, height, width, channels = self._array(self.dumps[0], "patches").shape
        return height, width, channels

    def channels(self) -> int:
        """C of a row's pooled vector."""
        return int(self._array(self.dumps[0], "pooled").shape[1])

    def crops(self) -> int:
        """Rows of each image."""
        return int(self.manifest(self.dumps[0])["crops"])

    def images(self, dump: str) -> NDArray[np.int64]:
        """(n,) index rows of the images that were sampled from a dump, rising."""
        return _whole_array(self.storage, self.path(dump), "images")

    def _array(self, dump: str, name: str) -> Any:
        return arrays.open_array(self.storage, self.path(dump), name)

    def read(self, name: str, rows: NDArray[np.int64], scattered: bool = False) -> NDArray[Any]:
        """Global rows of the array `patches`, `pooled` or `valid`, in the order of `rows`.

        Few rows that lie far apart are read faster as `scattered` ones.
        """
        offsets = self.offsets()
        dump_numbers = np.searchsorted(offsets, rows, side="right") - 1
        if len(rows) and not 0 <= dump_numbers.min() <= dump_numbers.max() < len(self.dumps):
            raise WorkspaceError(f"rows {rows.min()} to {rows.max()} are not all in {self.dumps}")
        read = partial(self._read, name, scattered)
        parts = {
            number: read(dump, rows[dump_numbers == number] - offsets[number])
            for number, dump in enumerate(self.dumps)
            if number in dump_numbers or (number == 0 and not len(rows))  # no rows have a shape
        }
        first = next(iter(parts.values()))
        values = np.empty((len(rows), *first.shape[1:]), first.dtype)
        for number, part in parts.items():
            values[dump_numbers == number] = part
        return values

    def _read(self, name: str, scattered: bool, dump: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        if name == "valid":
            return _whole_array(self.storage, self.path(dump), name)[rows]
        read = arrays.read_scattered if scattered else arrays.read_rows
        return read(self.storage, self.path(dump), name, rows)

    def location(self, row: int) -> tuple[int, int, int]:
        """Numbers of a global row's dump, of its image among the dump's sample, and of its crop."""
        offsets = self.offsets()
        number = int(np.searchsorted(offsets, row, side="right") - 1)
        return number, *divmod(row - int(offsets[number]), self.crops())

    def _dump_rows(self) -> dict[str, NDArray[np.int64]]:
        """Global rows of each dump."""
        parts = np.split(np.arange(self.total, dtype=np.int64), self.offsets()[1:-1])
        return dict(zip(self.dumps, parts, strict=True))

    def row_blocks(self, size: int, dumps: Sequence[str] | None = None) -> list[NDArray[np.int64]]:
        """Global rows of some dumps, by default of all, in blocks of at most `size`."""
        parts = [rows for dump, rows in self._dump_rows().items() if dumps is None or dump in dumps]
        return cuts(np.concatenate([np.empty(0, np.int64), *parts]), size)

    def shards(self) -> list[NDArray[np.int64]]:
        """Global rows of each shard of the patches, in order."""
        return [
            block
            for dump, rows in self._dump_rows().items()
            for block in cuts(rows, arrays.shard_rows(self._array(dump, "patches")))
        ]

    def valid_blocks(
        self, name: str, blocks: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """The valid rows of some blocks, as (global rows, values); read one block ahead."""

        def fetch(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
            valid = self.read("valid", rows)
            return rows[valid], self.read(name, rows)[valid]  # a block is read as a slice

        return (values for _, values in ahead(blocks, fetch, depth=1))

    def renumbered(self, rows: NDArray[np.int64], source: "FeatureRows") -> NDArray[np.int64]:
        """Global rows of `source`, whose dumps are among these, as global rows of these.

        Negative numbers, which name no row, stay.
        """
        offsets, new_offsets = source.offsets(), self.offsets()
        shifts = new_offsets[[self.dumps.index(dump) for dump in source.dumps]] - offsets[:-1]
        dump_numbers = np.searchsorted(offsets, rows, side="right") - 1
        return np.where(rows < 0, rows, rows + shifts[np.clip(dump_numbers, 0, len(shifts) - 1)])

    def valid(self) -> NDArray[np.bool_]:
        """(total,) which rows hold features."""
        parts = [_whole_array(self.storage, self.path(dump), "valid") for dump in self.dumps]
        return np.concatenate(parts)


@remembered(DUMPS)
def _manifest(workspace: Workspace, path: str) -> dict[str, Any]:
    return workspace.folder(path).manifest()


@remembered(2 * DUMPS)
def _whole_array(storage: Storage, path: str, name: str) -> NDArray[Any]:
    """A value per row or image, read once: `valid` lies in as many files as the patches."""
    return arrays.read_rows(storage, path, name, slice(None))


class PatchCache:
    """A reader of patches for training: from memory if they fit a budget, else from storage."""

    def __init__(self, rows: FeatureRows, budget_mib: int) -> None:
        """Load everything if it takes at most `budget_mib` MiB."""
        self.rows = rows
        self.patches: NDArray[np.float16] | None = None
        shape = (rows.total, *rows.shape())
        if 2 * math.prod(shape) <= budget_mib * MIB:
            self.patches = np.empty(shape, np.float16)
            for numbers, part in ahead(rows.shards(), partial(rows.read, "patches"), SHARDS_AHEAD):
                self.patches[numbers] = part

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n, h, w, C) float16 patches of global rows."""
        return self.rows.read("patches", rows) if self.patches is None else self.patches[rows]


def cuts(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Some rows in blocks of at most `size`."""
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def feature_rows(workspace: Workspace, key: str, dumps: Sequence[str]) -> FeatureRows:
    """The rows of some dumps; raises a WorkspaceError where those of a dump are not finished."""
    rows = FeatureRows(workspace, key, tuple(dumps))
    rows.counts()
    return rows
