"""S3 against a real server: transient errors are repeated, all others end in one sentence."""

import asyncio
import logging
import pickle
import random
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from fault_proxy import Fault, FaultProxy
from numpy.typing import NDArray
from s3fs import S3FileSystem
from swift_server import REGION, SwiftServer

from flows.cli.main import main
from flows.runs.session import connected
from stego_core.errors import InputError, OptionError, OutageError, WorkspaceError
from tasks.options import StorageOptions
from tasks.storage import s3 as services
from tasks.storage import s3_client
from tasks.storage.s3 import Service
from tasks.storage.storage import Storage, _filesystem
from tasks.storage.threads import ContextThreadPool
from tasks.workspace import arrays, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.workspace import Workspace
from tests.tasks.storage import test_storage as interface

BODY = random.Random(0).randbytes(50_000)


class Impatient:
    """asyncio for s3fs, which waits a hundredth of its waits between attempts."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds / 100, 0.004))


def forget() -> None:
    """No filesystem with an earlier test's credentials and connections."""
    s3_client.filesystem.cache_clear()
    s3_client.LoggedS3.clear_instance_cache()


@pytest.fixture
def bucket(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty bucket; what is tried again is tried at once."""
    monkeypatch.setattr("s3fs.core.asyncio", Impatient())
    return s3_environment


@pytest.fixture
def storage(bucket: str) -> Storage:
    return Storage.at(f"{bucket}/ws")


@pytest.fixture
def other_credentials(bucket: str) -> Iterator[None]:
    """Filesystems of the test's own, for it changes who asks."""
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def one_proxy(s3: SwiftServer) -> Iterator[FaultProxy]:
    """One for all tests: each new address costs a client of its own."""
    with FaultProxy(s3.endpoint, 0.0, 0, stall=0.05, slow=0.05) as proxy:
        yield proxy


@pytest.fixture
def through(one_proxy: FaultProxy, bucket: str) -> Iterator[Callable[..., FaultProxy]]:
    """Lead what follows through a proxy that spoils this share of the requests."""
    with ExitStack() as stack:

        def start(rate: float, *kinds: Fault, seed: int = 0) -> FaultProxy:
            one_proxy.rate, one_proxy.kinds = rate, kinds or tuple(Fault)
            one_proxy._random = random.Random(seed)
            one_proxy.requests = 0
            one_proxy.methods.clear()
            one_proxy.injected.clear()
            stack.enter_context(connected(StorageOptions(endpoint=one_proxy.endpoint)))
            return one_proxy

        yield start


def closed_address() -> str:
    """The address of a service that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


class TestRoundTrip(interface.TestRoundTrip):
    """What every storage does, on S3."""

    test_any_name_and_content_on_disk = None
    test_any_name_and_content_in_memory = None
    test_the_longest_name_that_a_disk_takes = None


class TestLooking(interface.TestLooking):
    """What every storage does, on S3."""

    test_a_file_below_a_file_is_missing_too = None
    test_names_below_a_file = None


class TestFiles(interface.TestFiles):
    """What every storage does, on S3."""

    test_forgets_a_cached_listing_first = None
    test_an_empty_folder = None
    test_an_unknown_protocol = None

    def test_a_folder_of_several_pages(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """As many requests as pages, the objects in the order of their names."""
        names = ["a/b.jpg", "a-1.jpg", "a.jpg", "é.jpg", "a/c/d.jpg", "Z.jpg", "a b.jpg"]
        storage = Storage.at(f"{bucket}/pages")
        for name in names:
            storage.write(name, name.encode())
        Storage.at(f"{bucket}/pages2").write("other", b"")
        answers: list[int] = []
        client = s3_client.LoggedS3
        call = client.call_s3

        def three_at_once(self: object, method: str, **request: object) -> dict[str, object]:
            answer: dict[str, list[object]] = call(self, method, MaxKeys=3, **request)
            answers.append(len(answer.get("Contents", [])))
            return answer

        monkeypatch.setattr(client, "call_s3", three_at_once)
        found = storage.files()
        assert [(file.path, file.bytes) for file in found] == [
            (name, len(name.encode())) for name in sorted(names)
        ]
        assert answers == [3, 3, 1]
        assert all(file.modified and file.version for file in found)
        assert [file.path for file in Storage.at(f"{bucket}/pages/a.jpg").files()] == ["."]


@pytest.fixture(params=["local", "memory", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage.at(request.getfixturevalue("bucket") + "/ws")
    return Storage.at({"local": str(tmp_path), "memory": f"memory://{uuid4().hex}"}[request.param])


class TestOnEveryStore:
    def test_folders_are_those_directly_inside(self, anywhere: Storage) -> None:
        for path in ("inbox/b/1.png", "inbox/a/deep/2.png", "inbox/loose.png", "c/3.png"):
            anywhere.write(path, b"1")
        assert anywhere.folders("inbox") == ["a", "b"]
        assert anywhere.folders("") == ["c", "inbox"]
        assert anywhere.folders("inbox/b") == anywhere.folders("nowhere") == []
        assert anywhere.names("inbox") == ["a", "b", "loose.png"]

    def test_removed_is_gone_and_removing_nothing_is_fine(self, anywhere: Storage) -> None:
        anywhere.write("a/b", b"1")
        anywhere.remove("a/b")
        anywhere.remove("a/b")
        assert not anywhere.exists("a/b")
        assert anywhere.names("a") == []

    def test_many_are_read_in_order_and_missing_ones_are_none(self, anywhere: Storage) -> None:
        for number in range(6):
            anywhere.write(f"x/{number}", bytes([number]))
        paths = ["x/5", "x/none", "x/0", "x/5", "none/1"]
        assert anywhere.read_many(paths) == [b"\5", None, b"\0", b"\5", None]
        assert anywhere.read_many([]) == []

    def test_another_content_has_another_version_and_its_time(self, anywhere: Storage) -> None:
        anywhere.write("a", b"first")
        [before] = anywhere.files()
        assert abs(before.modified - time.time()) < 60
        time.sleep(0.01)
        anywhere.write("a", b"other")
        [after] = anywhere.files()
        assert (after.path, after.bytes) == (before.path, before.bytes)
        assert after.version != before.version
        assert anywhere.files() == [after]


def test_an_empty_file_of_a_folder_s_name_is_no_folder(storage: Storage) -> None:
    """Some clients of object stores leave such markers."""
    client = s3_client.filesystem(services.current_service())
    for path in ("inbox/", "inbox/day-1/"):
        client.call_s3("put_object", Bucket=storage.uri.split("/")[2], Key=f"ws/{path}")
    storage.write("inbox/day-1/a.png", b"1")
    assert storage.folders("inbox") == ["day-1"]
    found = Storage(storage.full("inbox/day-1")).files()
    assert [file.path for file in found if file.bytes] == ["a.png"]


class TestFaults:
    """Each kind of fault, far more often than in any real store."""

    @pytest.mark.parametrize("kind", list(Fault))
    def test_everything_works_in_spite_of(
        self,
        kind: Fault,
        storage: Storage,
        through: Callable[..., FaultProxy],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(s3_client.LoggedS3, "retries", 40)  # at this rate ten are too few
        bodies = {f"x/{number}": BODY[: number * 7_000] for number in range(4)}
        proxy = through(0.5, kind)
        for path, body in bodies.items():
            storage.write(path, body)
        storage.write("x/gone", b"1")
        storage.remove("x/gone")
        assert storage.read_many(list(bodies)) == list(bodies.values())
        assert [storage.exists(path) for path in ("x/3", "x/gone", "x")] == [True, False, True]
        assert storage.names("x") == ["0", "1", "2", "3"]
        assert [file.bytes for file in storage.files()] == [0, 7_000, 14_000, 21_000]
        with storage.opened("x/3") as file:
            file.seek(20_990)
            assert file.read() == BODY[20_990:21_000]
        assert proxy.injected[kind] > 0
        proxy.rate = 0.0
        assert [storage.read(path) for path in bodies] == list(bodies.values())

    def test_every_repeated_request_is_one_line(
        self,
        storage: Storage,
        through: Callable[..., FaultProxy],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        proxy = through(0.5, Fault.INTERNAL_ERROR)
        for number in range(8):
            storage.write(f"x/{number}", b"1")
        lines = [record for record in caplog.records if record.name == "tasks.storage.s3_client"]
        assert 0 < len(lines) < 8
        assert sum(line.fields["repeats"] for line in lines) == proxy.injected.total()
        first = lines[0]
        assert first.levelno == logging.INFO
        assert set(first.fields) == {"request", "place", "fault", "repeats", "seconds"}
        assert first.fields["request"] == "put_object"
        assert first.getMessage().startswith(
            f"s3 request repeated request=put_object place={storage.uri}/x/"
        )
        assert "fault=InternalError" in first.getMessage()
        proxy.rate = 0.0
        caplog.clear()
        storage.read("x/0")
        assert not [record for record in caplog.records if record.name == "tasks.storage.s3_client"]

    def test_a_service_that_is_restarted_meanwhile(
        self, storage: Storage, s3: SwiftServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_client.LoggedS3, "retries", 1000)
        with FaultProxy(s3.endpoint, 0.0, 0) as before:
            port = before.port
            with connected(StorageOptions(endpoint=before.endpoint)):
                storage.write("a", BODY)
        with ContextThreadPool(1) as pool, connected(StorageOptions(endpoint=before.endpoint)):
            reading = pool.submit(storage.read, "a")
            time.sleep(0.1)
            assert not reading.done()
            with FaultProxy(s3.endpoint, 0.0, 0, port=port):
                assert reading.result() == BODY

    def test_a_large_file_whose_last_answer_is_lost(
        self, storage: Storage, through: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It goes up in parts; they are joined, and the answer that says so breaks off."""
        proxy = through(0.0)
        joined = []

        def draw(self: FaultProxy, method: str) -> Fault | None:
            joined.append(method)
            return Fault.TRUNCATED if joined.count("POST") == 2 and method == "POST" else None

        monkeypatch.setattr(FaultProxy, "_draw", draw)
        defaults = (5 * 2**20, None, "overwrite")
        monkeypatch.setattr(S3FileSystem._pipe_file, "__defaults__", defaults)
        body = BODY * 220
        storage.write("large", body)
        assert storage.read("large") == body
        assert proxy.injected == {Fault.TRUNCATED: 1}

    def test_a_large_local_file_goes_up_in_parts(
        self,
        storage: Storage,
        through: Callable[..., FaultProxy],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        proxy = through(0.2, seed=1)
        monkeypatch.setattr("tasks.storage.storage.UPLOAD_BYTES", 5 * 2**20)
        (tmp_path / "large").write_bytes(BODY * 220)
        storage.upload("large", tmp_path / "large")
        assert storage.read("large") == BODY * 220
        assert proxy.methods["POST"] >= 2  # begun and completed
        assert proxy.injected


class TestArraysAndTables:
    def test_an_array_through_faults_equals_a_local_one(
        self, storage: Storage, tmp_path: Path, through: Callable[..., FaultProxy]
    ) -> None:
        layout = Layout((7, 3, 2), "float16", shard_rows=3)
        values = np.random.default_rng(0).normal(size=layout.shape).astype(layout.dtype)
        proxy = through(0.3, seed=2)
        rows = np.array([6, 0, 0, 3])
        found, written = [], []
        for place in (storage, Storage.at(str(tmp_path))):
            arrays.create(place, "f/k.zarr", {"patches": layout})
            arrays.create(place, "f/k.zarr", {"patches": layout})
            for shard in range(3):
                part = values[slice(*arrays.shard_span(shard, layout.shard_rows, len(values)))]
                written.append(arrays.write_shard(place, "f/k.zarr", "patches", shard, part))
            for wanted in (slice(None), np.arange(2, 5), rows):
                found.append(arrays.read_rows(place, "f/k.zarr", "patches", wanted))
        assert proxy.injected.total() >= 3
        assert written[:3] == written[3:]
        for remote, local in zip(found[:3], found[3:], strict=True):
            np.testing.assert_array_equal(remote, local)
        np.testing.assert_array_equal(found[0], values)
        proxy.rate = 0.0
        for path in ("zarr.json", "patches/zarr.json", "patches/c/0/0/0", "patches/c/2/0/0"):
            assert storage.read(f"f/k.zarr/{path}") == (tmp_path / "f/k.zarr" / path).read_bytes()

    @pytest.mark.parametrize(
        ("rows", "requests"),
        [
            (np.arange(20), 2),  # both shards whole; the last one is shorter
            (np.array([19, 3, 4, 7]), 5),  # the last one whole; of the first its index and 3 chunks
            (np.array([5]), 2),
        ],
    )
    def test_shards_of_which_much_is_wanted_come_whole(
        self,
        storage: Storage,
        through: Callable[..., FaultProxy],
        rows: NDArray[np.int64],
        requests: int,
    ) -> None:
        layout = Layout((20, 3), "float32", shard_rows=16)
        values = np.random.default_rng(0).normal(size=layout.shape).astype(layout.dtype)
        arrays.create(storage, "f/k.zarr", {"codes": layout})
        for shard in range(2):
            part = values[slice(*arrays.shard_span(shard, layout.shard_rows, len(values)))]
            arrays.write_shard(storage, "f/k.zarr", "codes", shard, part)
        proxy = through(0.0)
        for _ in range(2):
            found = arrays.read_rows(storage, "f/k.zarr", "codes", rows)
            np.testing.assert_array_equal(found, values[rows])
        assert proxy.requests == 1 + 2 * requests  # the metadata once

    def test_a_table_through_faults(
        self, storage: Storage, through: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tables, "ROW_GROUP", 3)
        proxy = through(0.3, *(kind for kind in Fault if kind != Fault.SLOW), seed=1)
        values = {"id": [f"straße {row}" for row in range(10)], "size": list(range(10))}
        tables.write_table(storage, "a.parquet", values, {"id": "string", "size": "int64"})
        found = tables.read_rows(storage, "a.parquet", np.array([9, 0, 4, 9]))
        assert [row["size"] for row in found] == [9, 0, 4, 9]
        assert [row["id"] for row in found] == [values["id"][row] for row in (9, 0, 4, 9)]
        assert tables.row_count(storage, "a.parquet") == 10
        groups = list(tables.stream_column(storage, "a.parquet", "id"))
        assert [len(group) for group in groups] == [3, 3, 3, 1]
        assert [name for group in groups for name in group] == values["id"]
        assert proxy.injected.total() >= 3

    def test_of_a_large_table_only_the_parts_asked_for_are_fetched(
        self, storage: Storage, through: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.storage.storage.RANGE_BYTES", 10_000)
        noise = np.random.default_rng(0).integers(0, 2**62, 60_000)
        tables.write_table(storage, "a.parquet", {"n": noise}, {"n": "int64"})
        proxy = through(0.0)
        fetched: list[int] = []
        monkeypatch.setattr(s3_client, "Body", lambda content: received(fetched, content))
        assert tables.row_count(storage, "a.parquet") == 60_000
        assert sum(fetched) < 100_000
        assert proxy.methods == {"HEAD": 1, "GET": len(fetched)}
        [row] = tables.read_rows(storage, "a.parquet", np.array([40_000]))
        assert row == {"n": noise[40_000]}
        assert sum(fetched) < 250_000  # of 480 000
        assert proxy.requests < 10


def received(sizes: list[int], content: bytes) -> s3_client.Body:
    sizes.append(len(content))
    return REAL_BODY(content)


REAL_BODY = s3_client.Body


OPERATIONS: dict[str, Callable[[Storage], Any]] = {
    "write": lambda storage: storage.write("a", b"1"),
    "read": lambda storage: storage.read("a"),
    "exists": lambda storage: storage.exists("a"),
    "names": lambda storage: storage.names(""),
    "folders": lambda storage: storage.folders(""),
    "files": lambda storage: storage.files(),
    "remove": lambda storage: storage.remove("a"),
    "table": lambda storage: tables.row_count(storage, "a"),
    "array": lambda storage: arrays.read_rows(storage, "a.zarr", "b", slice(None)),
    "create": lambda storage: arrays.create(storage, "a.zarr", {"b": Layout((2, 1), "int8", 2)}),
    "workspace": lambda storage: Workspace.create(storage.uri),
}


class TestOutages:
    def test_a_service_that_stays_broken(
        self,
        storage: Storage,
        through: Callable[..., FaultProxy],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(s3_client.LoggedS3, "retries", 4)
        proxy = through(1.0, Fault.INTERNAL_ERROR)
        for name, operation in OPERATIONS.items():
            proxy.requests = 0
            with pytest.raises(OutageError) as raised:
                operation(storage)
            said = str(raised.value)
            assert said.startswith(f"{storage.uri}/"), name
            assert "failed 4 times in" in said
            assert "run the same command again: finished shards are kept" in said
            assert "\n" not in said
            assert raised.value.__cause__ is None
            # Zarr asks for three kinds of metadata at the same time.
            assert 4 <= proxy.requests <= (12 if name in {"array", "create"} else 4), name

    def test_a_service_that_never_answers_is_given_up_soon(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("s3fs.core.asyncio", asyncio)
        address = closed_address()
        with connected(StorageOptions(endpoint=address)):
            begun = time.monotonic()
            for name in ("write", "read", "files"):
                with pytest.raises(OutageError, match=f"failed 3 times in .*{address}/test-"):
                    OPERATIONS[name](storage)
            assert time.monotonic() - begun < 10

    def test_once_it_answered_there_is_more_patience(
        self, storage: Storage, s3: SwiftServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_client.LoggedS3, "retries", 6)
        with FaultProxy(s3.endpoint, 0.0, 0) as proxy:
            service = StorageOptions(endpoint=proxy.endpoint)
            with connected(service):
                storage.write("a", b"1")
        # Now nobody listens there any more.
        with connected(service), pytest.raises(OutageError, match="get_object failed 6 times"):
            storage.read("a")

    def test_the_waits_cover_a_restart_of_a_service(
        self, storage: Storage, through: Callable[..., FaultProxy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []

        class Counting(Impatient):
            async def sleep(self, seconds: float) -> None:
                waits.append(seconds)

        monkeypatch.setattr("s3fs.core.asyncio", Counting())
        through(1.0, Fault.SLOW_DOWN)
        with pytest.raises(OutageError, match="put_object failed 12 times"):
            storage.write("a", BODY)
        assert len(waits) == s3_client.ATTEMPTS - 1
        assert 30 < sum(waits) < 60
        assert sum(waits[: s3_client.ATTEMPTS_AT_FIRST - 1]) < 1


@pytest.mark.usefixtures("other_credentials")
class TestRefusals:
    """Every operation but the reading of a user's image, which is quarantined."""

    def test_a_wrong_secret_is_one_sentence_and_one_request(
        self,
        storage: Storage,
        through: Callable[..., FaultProxy],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
        proxy = through(0.0)
        for name in OPERATIONS.keys() - {"read"}:
            proxy.requests = 0
            with pytest.raises((WorkspaceError, InputError)) as refused:
                OPERATIONS[name](storage)
            said = str(refused.value)
            assert said.startswith(f"{storage.uri} cannot be"), name
            assert "signing method" in said or "Forbidden" in said
            assert proxy.requests == 1 if name != "array" else proxy.requests <= 3, name
        proxy.requests = 0
        with pytest.raises(PermissionError):
            storage.read("a.png")
        assert proxy.requests == 1

    def test_nobody_s_credentials(
        self,
        storage: Storage,
        through: Callable[..., FaultProxy],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        proxy = through(0.0)
        for operation in OPERATIONS.values():
            with pytest.raises((WorkspaceError, InputError), match="give credentials through"):
                operation(storage)
        assert proxy.requests == 0

    def test_an_endpoint_that_is_no_url(self, storage: Storage) -> None:
        with connected(StorageOptions(endpoint="nonsense")):
            for operation in OPERATIONS.values():
                with pytest.raises(OptionError, match="endpoint: nonsense; expected one such as"):
                    operation(storage)

    def test_the_command_line_says_it_too(
        self,
        storage: Storage,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
        log = ("--log-file", str(tmp_path / "log"))
        for command in (("status",), ("corpus", "--images", str(tmp_path))):
            with pytest.raises(SystemExit) as ended:
                main([*command, "--workspace", storage.uri, *log])
            assert ended.value.code == 2
            said = capsys.readouterr().err
            assert said.startswith(f"error: {storage.uri} cannot be read: The request signature")


class TestMissingBucket:
    def test_looking_finds_nothing_and_writing_says_why(
        self, bucket: str, through: Callable[..., FaultProxy]
    ) -> None:
        proxy = through(0.0)
        storage = Storage.at("s3://no-such-bucket/ws")
        assert not storage.exists("a")
        assert storage.names("a") == storage.folders("a") == []
        assert storage.read_many(["a"]) == [None]
        for act in (lambda: storage.write("a", b"1"), lambda: Workspace.create(storage.uri)):
            with pytest.raises(WorkspaceError, match="cannot be written: The specified bucket"):
                act()
        with pytest.raises(InputError, match="cannot be listed: The specified bucket"):
            storage.files()
        assert proxy.requests == 9  # each was asked once: another answer will not come


@pytest.mark.usefixtures("other_credentials")
class TestService:
    def test_options_win_over_the_environment(
        self, storage: Storage, s3: SwiftServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.write("a", BODY)
        forget()
        monkeypatch.setenv("AWS_ENDPOINT_URL", closed_address())
        monkeypatch.setenv("AWS_DEFAULT_REGION", "mars")
        with connected(StorageOptions(endpoint=s3.endpoint, region=REGION)):
            assert storage.read("a") == BODY
            assert _filesystem(storage.uri).s3.meta.region_name == REGION
            with connected(StorageOptions()):  # a flow inside another leaves it as it is
                assert services.current_service() == Service(s3.endpoint, REGION)
                assert storage.read("a") == BODY
            with connected(StorageOptions(region="venus")):
                assert services.current_service() == Service(s3.endpoint, "venus")
        assert services.current_service() == Service()
        with pytest.raises(OutageError):
            storage.read("a")

    def test_a_service_is_left_where_its_block_fails(self) -> None:
        with pytest.raises(ZeroDivisionError), connected(StorageOptions(region="mars")):
            _ = 1 / 0
        assert services.current_service() == Service()

    def test_a_profile_of_a_credentials_file(
        self, storage: Storage, s3: SwiftServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = other\naws_secret_access_key = other\n"
            f"[mine]\naws_access_key_id = {s3.access_key}\n"
            f"aws_secret_access_key = {s3.secret_key}\n"
        )
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with connected(StorageOptions(profile="mine")):
            storage.write("a", BODY)
            assert storage.read("a") == BODY
        with pytest.raises(PermissionError):  # as `default`
            storage.read("a")
        with (
            connected(StorageOptions(profile="nobody")),
            pytest.raises(WorkspaceError, match=r"profile \(nobody\) could not be found; give"),
        ):
            storage.read("a")

    def test_the_same_service_keeps_its_connections(self, storage: Storage) -> None:
        with connected(StorageOptions(region=REGION)):
            first = _filesystem(storage.uri)
            assert _filesystem(f"{storage.uri}-2") is first
        with connected(StorageOptions(region=REGION)):
            assert _filesystem(storage.uri) is first


@pytest.mark.usefixtures("other_credentials")
class TestSecrets:
    def test_the_secret_key_shows_nowhere(
        self,
        storage: Storage,
        s3: SwiftServer,
        through: Callable[..., FaultProxy],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.setattr(s3_client.LoggedS3, "retries", 3)
        proxy = through(0.3, Fault.SLOW_DOWN, Fault.REFUSED)
        shown: list[str] = []
        for _, operation in sorted(OPERATIONS.items()):
            try:
                shown.append(repr(operation(storage)))
            except Exception as error:
                shown.append("".join(traceback.format_exception(error)))
        proxy.rate = 1.0
        with pytest.raises(OutageError) as raised:
            storage.write("b", BODY)
        filesystem = _filesystem(storage.uri)
        shown += ["".join(traceback.format_exception(raised.value)), caplog.text]
        for thing in (
            storage,
            services.current_service(),
            StorageOptions(),
            filesystem,
            filesystem.s3,
        ):
            shown += [repr(thing), str(thing), repr(getattr(thing, "__dict__", {}))]
        shown += [filesystem.to_json(), repr(pickle.dumps(storage)), repr(pickle.dumps(filesystem))]
        assert len(caplog.records) > 20
        assert s3.access_key in "".join(shown)  # which is no secret; so the search does find
        for text in shown:
            assert s3.secret_key not in text
