"""Arrays: laid out as planned, written by whole shards, read in any order, damage noticed."""

import json
import multiprocessing
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.errors import CapacityError, DamageError, WorkspaceError
from tasks.storage.run_cache import during
from tasks.storage.storage import Storage
from tasks.workspace import arrays
from tasks.workspace.arrays import Layout
from tasks.workspace.keys import digest

GROUP, NAME = "features/k/day-1.zarr", "patches"
LAYOUT = Layout((10, 2, 3), "float16", shard_rows=4, chunk_rows=2)
VALUES = np.random.default_rng(0).normal(size=LAYOUT.shape).astype(LAYOUT.dtype)


def write_all(storage: Storage, values: NDArray[Any] = VALUES, layout: Layout = LAYOUT) -> None:
    arrays.create(storage, GROUP, {NAME: layout})
    for shard in range(arrays.shard_count(layout.shape[0], layout.shard_rows)):
        arrays.write_shard(
            storage,
            GROUP,
            NAME,
            shard,
            values[slice(*arrays.shard_span(shard, layout.shard_rows, len(values)))],
        )


def everything(storage: Storage) -> NDArray[Any]:
    return arrays.read_rows(storage, GROUP, NAME, slice(None))


def shard_file(storage: Storage, shard: int = 0) -> Path:
    return Path(storage.uri, GROUP, NAME, "c", str(shard), "0", "0")


class TestLayout:
    @given(st.integers(1, 500), st.integers(1, 60))
    def test_shards_part_the_rows(self, rows: int, shard_rows: int) -> None:
        covered = [
            row
            for shard in range(arrays.shard_count(rows, shard_rows))
            for row in range(*arrays.shard_span(shard, shard_rows, rows))
        ]
        assert covered == list(range(rows))

    @pytest.mark.parametrize(("rows", "count"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
    def test_shard_count(self, rows: int, count: int) -> None:
        assert arrays.shard_count(rows, 4) == count


class TestCreate:
    def test_as_planned(self, storage: Storage) -> None:
        other = Layout((10, 5), "float32", shard_rows=4)
        arrays.create(storage, GROUP, {NAME: LAYOUT, "pooled": other})
        patches = arrays.open_array(storage, GROUP, NAME)
        pooled = arrays.open_array(storage, GROUP, "pooled")
        assert (patches.shape, patches.dtype) == ((10, 2, 3), np.float16)
        assert (patches.shards, patches.chunks) == ((4, 2, 3), (2, 2, 3))
        assert (pooled.shape, pooled.dtype) == ((10, 5), np.float32)
        assert (pooled.shards, pooled.chunks) == ((4, 5), (1, 5))

    def test_chunks_and_index_carry_a_checksum(self, storage: Storage) -> None:
        arrays.create(storage, GROUP, {NAME: LAYOUT})
        stored = json.loads(storage.read(f"{GROUP}/{NAME}/zarr.json"))
        [sharding] = stored["codecs"]
        assert sharding["name"] == "sharding_indexed"
        for chain in ("codecs", "index_codecs"):
            names = [codec["name"] for codec in sharding["configuration"][chain]]
            assert names == ["bytes", "crc32c"]
        assert stored["fill_value"] == 0

    def test_nothing_but_metadata(self, storage: Storage) -> None:
        arrays.create(storage, GROUP, {NAME: LAYOUT})
        assert [path.rsplit("/", 1)[-1] for path, *_ in storage.files()] == ["zarr.json"] * 2

    def test_again_changes_nothing(self, storage: Storage) -> None:
        write_all(storage)
        before = [(path, storage.read(path)) for path, *_ in storage.files()]
        arrays.create(storage, GROUP, {NAME: LAYOUT})
        assert [(path, storage.read(path)) for path, *_ in storage.files()] == before

    def test_goes_on_where_it_was_killed(self, storage: Storage) -> None:
        arrays.create(storage, GROUP, {})  # the group is there, its arrays are not
        write_all(storage)
        arrays.create(storage, GROUP, {NAME: LAYOUT, "pooled": Layout((10, 5), "float32", 4)})
        assert arrays.open_array(storage, GROUP, "pooled").shape == (10, 5)
        assert np.array_equal(everything(storage), VALUES)

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(WorkspaceError, match="cannot be written"):
            arrays.create(Storage.at(str(tmp_path / "file")), GROUP, {NAME: LAYOUT})


class TestWriteShard:
    def test_reads_back(self, storage: Storage) -> None:
        write_all(storage)
        assert np.array_equal(everything(storage), VALUES)

    def test_returns_what_the_record_says(self, storage: Storage) -> None:
        arrays.create(storage, GROUP, {NAME: LAYOUT})
        part = VALUES[4:8]
        written = arrays.write_shard(storage, GROUP, NAME, 1, part)
        assert written == (4 * 2 * 3 * 2, digest(part.tobytes()))
        turned = np.asfortranarray(part)  # the same values, lying otherwise in memory
        assert arrays.write_shard(storage, GROUP, NAME, 1, turned) == written

    def test_the_last_shard_is_shorter(self, storage: Storage) -> None:
        arrays.create(storage, GROUP, {NAME: LAYOUT})
        arrays.write_shard(storage, GROUP, NAME, 2, VALUES[8:])
        assert np.array_equal(arrays.read_rows(storage, GROUP, NAME, slice(8, 10)), VALUES[8:])
        with pytest.raises(ValueError, match=r"shard 2 .* is \(2, 2, 3\)"):
            arrays.write_shard(storage, GROUP, NAME, 2, VALUES[:4])

    @pytest.mark.parametrize(
        ("shard", "values"),
        [
            (0, VALUES[:3]),
            (0, VALUES[:5]),
            (1, VALUES[8:]),
            (0, VALUES[:4, :1]),
            (0, VALUES[:4].astype(np.float32)),
            (3, VALUES[:4]),
            (3, VALUES[:0]),
            (-1, VALUES[:4]),
        ],
    )
    def test_anything_but_one_whole_shard_is_refused(
        self, storage: Storage, shard: int, values: NDArray[Any]
    ) -> None:
        write_all(storage)
        with pytest.raises(ValueError, match=f"shard {shard} of {GROUP}/{NAME} is"):
            arrays.write_shard(storage, GROUP, NAME, shard, values)
        assert np.array_equal(everything(storage), VALUES)

    def test_empty_chunks_are_really_written(self, local: Storage) -> None:
        arrays.create(local, GROUP, {NAME: LAYOUT})
        arrays.write_shard(local, GROUP, NAME, 0, np.zeros((4, 2, 3), np.float16))
        chunk, checksum, entry = 2 * 2 * 3 * 2, 4, 16
        assert shard_file(local).stat().st_size == 2 * (chunk + checksum + entry) + checksum

    def test_data_are_on_the_disk_before_their_record(
        self, local: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A shard that a power cut left empty would read as zeros."""
        arrays.create(local, GROUP, {NAME: LAYOUT})
        synced = []
        monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
        arrays.write_shard(local, GROUP, NAME, 1, VALUES[4:8])
        shard = shard_file(local, 1)
        assert synced == [shard.stat().st_ino, shard.parent.stat().st_ino]

    def test_a_full_disk(self, local: Storage) -> None:
        big = Layout((4, 100_000), "float32", shard_rows=4)
        arrays.create(local, GROUP, {NAME: big})
        with files_of_at_most(100_000), pytest.raises(CapacityError, match="free some and run"):
            arrays.write_shard(local, GROUP, NAME, 0, np.ones((4, 100_000), np.float32))
        arrays.write_shard(local, GROUP, NAME, 0, np.ones((4, 100_000), np.float32))
        assert everything(local).all()

    def test_two_processes_lose_nothing(self, local: Storage) -> None:
        layout = Layout((61, 50), "float32", shard_rows=4)
        values = np.random.default_rng(1).normal(size=layout.shape).astype(layout.dtype)
        arrays.create(local, GROUP, {NAME: layout})
        work = [
            (
                local,
                GROUP,
                NAME,
                shard,
                values[slice(*arrays.shard_span(shard, layout.shard_rows, len(values)))],
            )
            for shard in range(arrays.shard_count(61, 4))
        ]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            written = pool.starmap(arrays.write_shard, work, chunksize=1)
        assert [size for size, _ in written] == [4 * 50 * 4] * 15 + [50 * 4]
        assert np.array_equal(everything(local), values)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What the operating system grants is used up after so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage.at(str(tmp_path_factory.mktemp("ws")))
    write_all(storage)
    return storage


class TestReadRows:
    @given(rows=st.lists(st.integers(0, 9), max_size=15))
    def test_any_order_and_repeated(self, written: Storage, rows: list[int]) -> None:
        found = arrays.read_rows(written, GROUP, NAME, np.array(rows, np.int64))
        assert found.dtype == np.float16
        assert np.array_equal(found, VALUES[np.array(rows, np.int64)])

    @given(first=st.integers(0, 10), last=st.integers(0, 10))
    def test_slices(self, written: Storage, first: int, last: int) -> None:
        found = arrays.read_rows(written, GROUP, NAME, slice(first, last))
        assert np.array_equal(found, VALUES[first:last])

    @given(first=st.integers(0, 10), last=st.integers(0, 10))
    def test_runs(self, written: Storage, first: int, last: int) -> None:
        found = arrays.read_rows(written, GROUP, NAME, np.arange(first, last))
        assert np.array_equal(found, VALUES[first:last])

    @pytest.mark.parametrize("rows", [[10], [8, 9, 10], [0, 11], [-1], [-2, -1], [-1, 0], [3, -1]])
    def test_a_row_that_is_not_there(self, written: Storage, rows: list[int]) -> None:
        with pytest.raises(IndexError, match=f"rows {min(rows)} to {max(rows)} of 10"):
            arrays.read_rows(written, GROUP, NAME, np.array(rows))


class TestDamage:
    def test_a_flipped_bit_anywhere_in_a_shard(self, local: Storage) -> None:
        write_all(local)
        file = shard_file(local, 1)
        whole = file.read_bytes()
        for position in range(0, len(whole), 5):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << position % 8
            file.write_bytes(flipped)
            with pytest.raises(DamageError, match=f"{GROUP}/{NAME} .* is damaged") as caught:
                everything(local)
            assert "remove that folder and run the same command again" in str(caught.value)
        file.write_bytes(whole)
        assert np.array_equal(everything(local), VALUES)

    @pytest.mark.parametrize("shard", [0, 2])  # a whole one, and the last, shorter one
    def test_a_damaged_shard_can_be_written_again(self, local: Storage, shard: int) -> None:
        write_all(local)
        shard_file(local, shard).write_bytes(b"junk" * 50)
        write_all(local)
        np.testing.assert_array_equal(everything(local), VALUES)

    def test_other_shards_can_still_be_read(self, local: Storage) -> None:
        write_all(local)
        shard_file(local, 1).write_bytes(b"rubbish")
        rows = np.array([9, 0, 3])
        assert np.array_equal(arrays.read_rows(local, GROUP, NAME, rows), VALUES[rows])
        with pytest.raises(DamageError):
            arrays.read_rows(local, GROUP, NAME, np.array([0, 4]))

    @pytest.mark.parametrize("rows", [slice(None), slice(5, 6), np.array([9, 1])])
    def test_an_unwritten_shard(self, storage: Storage, rows: Any) -> None:
        """Zarr would read it as zeros."""
        arrays.create(storage, GROUP, {NAME: LAYOUT})
        arrays.write_shard(storage, GROUP, NAME, 0, VALUES[:4])
        with pytest.raises(DamageError, match=r"c/[12]/0/0 is not there"):
            arrays.read_rows(storage, GROUP, NAME, rows)

    @pytest.mark.parametrize("kept", [1, 50, -1])
    def test_a_truncated_shard(self, local: Storage, kept: int) -> None:
        write_all(local)
        file = shard_file(local, 1)
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(DamageError):
            everything(local)

    @pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff"])
    def test_damaged_metadata(self, storage: Storage, content: bytes) -> None:
        write_all(storage)
        storage.write(f"{GROUP}/{NAME}/zarr.json", content)
        with during("another run"):
            with pytest.raises(DamageError, match="is damaged"):
                everything(storage)
            with pytest.raises(DamageError, match="is damaged"):
                arrays.write_shard(storage, GROUP, NAME, 0, VALUES[:4])
        with pytest.raises(DamageError, match="is damaged"):
            arrays.create(storage, GROUP, {NAME: LAYOUT})
