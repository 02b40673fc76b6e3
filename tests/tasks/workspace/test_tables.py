"""Tables and tensors come back as written, in any order of rows, or are called damaged."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_core.errors import DamageError
from tasks.storage.run_cache import during
from tasks.storage.storage import Storage
from tasks.workspace import tables

COLUMNS = {"id": "string", "size": "int64", "label": "string"}
COUNT = 10
VALUES = {
    "id": [f"straße {row}/日本" for row in range(COUNT)],
    "size": [row**3 for row in range(COUNT)],
    "label": [None if row % 3 else str(row) for row in range(COUNT)],
}
ROWS = [{name: VALUES[name][row] for name in COLUMNS} for row in range(COUNT)]
SCHEMA = pa.schema([("id", pa.string()), ("size", pa.int64()), ("label", pa.string())])
PATH = "corpus/day-1/index.parquet"


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 3)


class TestTables:
    def test_round_trip(self, storage: Storage) -> None:
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        read = tables.read_table(storage, PATH)
        assert read.schema == SCHEMA
        assert read.to_pylist() == ROWS
        assert tables.row_count(storage, PATH) == COUNT

    def test_no_rows(self, storage: Storage) -> None:
        tables.write_table(storage, PATH, {name: [] for name in COLUMNS}, COLUMNS)
        assert tables.read_table(storage, PATH).schema == SCHEMA
        assert tables.row_count(storage, PATH) == 0
        assert [row for group in tables.stream_column(storage, PATH, "id") for row in group] == []

    def test_joined_in_order(self, storage: Storage) -> None:
        for name, rows in (("a", slice(0, 4)), ("b", slice(4, 4)), ("c", slice(4, COUNT))):
            part = {column: VALUES[column][rows] for column in COLUMNS}
            tables.write_table(storage, name, part, COLUMNS)
        tables.join_tables(storage, ["a", "b", "c"], PATH, COLUMNS)
        assert tables.read_table(storage, PATH).schema == SCHEMA
        assert tables.read_table(storage, PATH).to_pylist() == ROWS

    def test_nothing_joined_is_an_empty_table(self, storage: Storage) -> None:
        tables.join_tables(storage, [], PATH, COLUMNS)
        assert tables.read_table(storage, PATH).schema == SCHEMA
        assert tables.row_count(storage, PATH) == 0

    @pytest.mark.parametrize("sizes", [(1, 3, 4, 4, 9), (30,), (10, 10, 10), (0, 0)])
    def test_row_groups_are_full_however_parts_are_cut(self, sizes: tuple[int, ...]) -> None:
        numbers = iter(range(30))
        parts = [pa.table({"n": [next(numbers) for _ in range(size)]}) for size in sizes]
        found = [part.column("n").to_pylist() for part in tables.regrouped(parts, 10)]
        assert all(len(part) == 10 for part in found[:-1])
        assert [n for part in found for n in part] == list(range(sum(sizes)))

    def test_a_damaged_part_is_named(self, storage: Storage) -> None:
        storage.write("a", b"rubbish")
        with pytest.raises(DamageError, match=r"^a in .* is damaged"):
            tables.join_tables(storage, ["a"], PATH, COLUMNS)
        assert not storage.exists(PATH)

    def test_the_same_columns_are_the_same_bytes(self, storage: Storage) -> None:
        tables.write_table(storage, "a", VALUES, COLUMNS)
        tables.write_table(storage, "b", dict(reversed(VALUES.items())), COLUMNS)
        assert storage.read("a") == storage.read("b")

    def test_a_missing_table(self, storage: Storage) -> None:
        for read in READERS:
            with pytest.raises(FileNotFoundError):
                read(storage)


@pytest.mark.usefixtures("small_groups")
class TestRowGroups:
    def test_are_as_small_as_said(self, storage: Storage) -> None:
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        with storage.opened(PATH) as file:
            assert pq.ParquetFile(file).num_row_groups == 4

    @given(st.lists(st.integers(0, COUNT - 1), max_size=12))
    def test_rows_in_any_order_and_repeated(self, wanted: list[int]) -> None:
        storage = Storage.at("memory://row-groups")
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        found = tables.read_rows(storage, PATH, np.array(wanted, np.int64))
        assert found == [ROWS[row] for row in wanted]

    def test_only_the_groups_of_those_rows_are_read(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        groups: list[int] = []
        read = pq.ParquetFile.read_row_group

        def spy(self: Any, group: int, *rest: Any, **named: Any) -> Any:
            groups.append(group)
            return read(self, group, *rest, **named)

        monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
        tables.read_rows(storage, PATH, np.array([9, 4, 3, 9]))
        assert groups == [1, 3]

    def test_a_column_streams_group_by_group(self, storage: Storage) -> None:
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        groups = list(tables.stream_column(storage, PATH, "size"))
        assert [len(group) for group in groups] == [3, 3, 3, 1]
        assert [value for group in groups for value in group] == VALUES["size"]


READERS: list[Callable[[Storage], Any]] = [
    lambda storage: tables.read_table(storage, PATH).to_pylist(),
    lambda storage: tables.read_rows(storage, PATH, np.arange(COUNT)),
    lambda storage: [
        value for group in tables.stream_column(storage, PATH, "id") for value in group
    ],
]


@pytest.mark.parametrize("read", READERS, ids=["table", "rows", "column"])
class TestDamagedTables:
    @pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" * 20])
    def test_not_parquet(
        self, storage: Storage, read: Callable[[Storage], Any], content: bytes
    ) -> None:
        storage.write(PATH, content)
        with pytest.raises(DamageError, match=f"{PATH} in .* is damaged"):
            read(storage)

    def test_truncated(self, storage: Storage, read: Callable[[Storage], Any]) -> None:
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        storage.write(PATH, storage.read(PATH)[:-20])
        with pytest.raises(DamageError):
            read(storage)

    def test_flipped_bits_never_become_data(self, read: Callable[[Storage], Any]) -> None:
        storage = Storage.at("memory://flipped")
        tables.write_table(storage, PATH, VALUES, COLUMNS)
        whole, good = storage.read(PATH), read(storage)
        footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        noticed = 0
        for position in range(4, footer, 3):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << position % 8
            storage.write(PATH, bytes(flipped))
            try:
                with during(f"bit {position}"):
                    assert read(storage) == good  # a bit without data, such as a statistic
            except DamageError:
                noticed += 1
        assert noticed > 20


class TestTensors:
    def test_round_trip(self, storage: Storage) -> None:
        tensors = {
            "weights": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
            "half": np.arange(6, dtype=np.float16).reshape(2, 3),
            "turned": np.arange(6).reshape(2, 3).T,
            "scalar": np.float32(0.5),
            "empty": np.zeros((0, 4), np.int64),
            "flags": np.array([True, False]),
        }
        content = tables.write_tensors(storage, "heads/k/head.safetensors", tensors)
        assert storage.read("heads/k/head.safetensors") == content
        read = tables.read_tensors(storage, "heads/k/head.safetensors")
        assert set(read) == set(tensors)
        for name, tensor in tensors.items():
            assert read[name].dtype == tensor.dtype
            assert read[name].shape == tensor.shape
            assert np.array_equal(read[name], tensor)

    def test_the_order_of_names_does_not_change_the_bytes(self, storage: Storage) -> None:
        a, b = np.zeros(2), np.ones(3)
        first = tables.write_tensors(storage, "x", {"a": a, "b": b})
        assert tables.write_tensors(storage, "y", {"b": b, "a": a}) == first

    def test_another_process_writes_the_same_bytes(self, local: Storage) -> None:
        named = {f"layer.{index}": np.arange(index + 1.0) for index in range(8)}
        here = tables.write_tensors(local, "here", named)
        program = (
            "import sys, numpy as np\n"
            "from tasks.workspace import tables\n"
            "from tasks.storage.storage import Storage\n"
            "named = {f'layer.{i}': np.arange(i + 1.0) for i in range(8)}\n"
            "tables.write_tensors(Storage(sys.argv[1]), 'there', named)\n"
        )
        subprocess.run([sys.executable, "-c", program, local.uri], check=True)
        assert local.read("there") == here

    @pytest.mark.parametrize("kept", [0, 4, 8, 30, -1])
    def test_truncated(self, storage: Storage, kept: int) -> None:
        content = tables.write_tensors(storage, "x", {"a": np.arange(6.0)})
        storage.write("x", content[:kept])
        with pytest.raises(DamageError, match=r"x in .* is damaged"):
            tables.read_tensors(storage, "x")

    def test_a_pickle_is_not_executed(self, storage: Storage) -> None:
        storage.write("x", b"cbuiltins\nexit\n(tR.")
        with pytest.raises(DamageError):
            tables.read_tensors(storage, "x")


READS = """
import sys
from tasks.workspace import tables
from tasks.storage.storage import Storage
storage, path = Storage.at(sys.argv[1]), sys.argv[2]
tables.read_table(storage, path)
tables.read_columns(storage, path, ["id", "size"])
tables.read_rows(storage, path, __import__("numpy").arange(3))
list(tables.stream_rows(storage, path, ["id"]))
list(tables.stream_column(storage, path, "size"))
with open("/proc/self/status") as status:
    threads = next(line for line in status if line.startswith("Threads"))
before = int(sys.argv[3])
sys.exit(int(threads.split()[1]) > before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc on this system")
def test_reading_starts_no_thread_of_arrow_s(tmp_path: Path) -> None:
    """Such a thread lets go of the file when Python has ended already, and aborts the process."""
    storage = Storage.at(str(tmp_path))
    tables.write_table(storage, PATH, VALUES, COLUMNS)
    count = "import tasks.workspace.tables; import os; print(len(os.listdir('/proc/self/task')))"
    imported = subprocess.run(
        [sys.executable, "-c", count], capture_output=True, text=True, check=True
    ).stdout.strip()
    command = [sys.executable, "-c", READS, str(tmp_path), PATH, imported]
    assert subprocess.run(command).returncode == 0


READ = """
import sys
import numpy as np
from tasks.storage.storage import Storage
from tasks.workspace import tables
storage, rows = Storage(sys.argv[1]), np.arange(0, 30_000, 5_000)
assert len(tables.read_rows(storage, "t.parquet", rows)) == 6
assert len(tables.read_rows(storage, "t.parquet", rows[:2])) == 2
assert tables.read_columns(storage, "t.parquet", ["number"])["number"].sum() == 30_000 * 29_999 / 2
print("pandas" in sys.modules)
"""


def test_a_page_of_the_explorer_imports_no_pandas(tmp_path: Path) -> None:
    """Arrow would where it is installed: half a second of the first page."""
    columns = {"number": list(range(30_000)), "name": ["a"] * 30_000}
    storage = Storage.at(str(tmp_path))
    tables.write_table(storage, "t.parquet", columns, {"number": "int64", "name": "string"})
    command = [sys.executable, "-c", READ, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_columns_are_arrays_that_may_be_changed(tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path))
    columns = {"whole": [1, 2], "gaps": [0.5, None], "name": ["a", None]}
    types = {"whole": "int32", "gaps": "float", "name": "string"}
    tables.write_table(storage, "t.parquet", columns, types)
    found = tables.read_columns(storage, "t.parquet", list(types))
    assert found["whole"].dtype == np.int32
    found["whole"] += 1
    assert found["whole"].tolist() == [2, 3]
    np.testing.assert_array_equal(found["gaps"], np.float32([0.5, np.nan]))
    assert found["name"].tolist() == ["a", None]
