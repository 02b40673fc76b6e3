"""Google's, Azure's and Hugging Face's packages against servers that speak their protocols."""

import errno
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import png, tar_bytes
from bucket_servers import KEY, Azure, Bucket, Google, Hub, azure_access, serving
from huggingface_hub import constants
from piles import entries, indexed

from stego_core.errors import InputError, OutageError
from tasks.sources import uri_lists
from tasks.storage.fsspec_packages import filesystem_of, reading_error
from tasks.storage.storage import Storage
from tasks.workspace import arrays

TOKEN = "hf_a_secret_of_tests"


class Place(NamedTuple):
    """A folder of a service, and the service."""

    uri: str
    bucket: Bucket
    inside: str  # bucket and folder

    def put(self, **files: bytes) -> None:
        for name, content in files.items():
            self.bucket.files[f"{self.inside}/{name.replace('__', '/')}"] = content


@pytest.fixture(params=["gs", "az", "hf"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A folder of each of the services, with no file yet."""
    scheme = request.param
    with serving({"gs": Google, "az": Azure, "hf": Hub}[scheme]) as bucket:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        monkeypatch.setenv("NO_GCE_CHECK", "true")  # no question to a cloud's metadata server
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure_access(bucket))
        template = f"{bucket.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", bucket.url)  # HF_ENDPOINT, when it is imported
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        _forget(scheme)
        inside = "datasets/we/photos" if scheme == "hf" else "tank/photos"
        yield Place(f"{scheme}://{inside}", bucket, inside)
        _forget(scheme)


def _forget(scheme: str) -> None:
    filesystem_of.cache_clear()
    fsspec.get_filesystem_class(scheme).clear_instance_cache()


def test_a_folder_is_listed_in_the_order_of_its_paths(place: Place) -> None:
    names = ["a/1.png", "a/2.png", "a/3 ü.png", "b.png", "b/c/4.png", "b/c/5.png", "z.png"]
    place.put(**{name: name.encode() for name in reversed(names)})
    files = Storage.at(place.uri).files()
    assert [file.path for file in files] == names
    assert [file.bytes for file in files] == [len(name.encode()) for name in names]
    assert len({file.version for file in files}) == len(files)
    assert [file.path for file in Storage.at(f"{place.uri}/b/c").files()] == ["4.png", "5.png"]


def test_a_changed_file_has_another_version(place: Place) -> None:
    place.put(a=b"1")
    before = Storage.at(place.uri).files()
    place.put(a=b"2")
    assert Storage.at(place.uri).files()[0].version != before[0].version


def test_a_single_file_is_its_own_folder(place: Place) -> None:
    place.put(**{"list.csv": b"url"})
    (file,) = Storage.at(f"{place.uri}/list.csv").files()
    assert (file.path, file.bytes) == (".", 3)


def test_ranges_ask_for_no_more_than_they_give(place: Place) -> None:
    content = np.random.default_rng(0).bytes(200_000)
    place.put(a=content)
    storage = Storage.at(place.uri)
    assert storage.read("a") == content
    assert storage.read_range("a", 1000, 50) == content[1000:1050]
    assert storage.read_range("a", 199_990, 50) == content[-10:]
    ranges = [
        h.get("x-ms-range") or h.get("Range") or h.get("range") for _, _, h in place.bucket.requests
    ]
    assert "bytes=1000-1049" in ranges


def test_a_file_that_is_not_there(place: Place) -> None:
    place.put(a=b"1")
    with pytest.raises(FileNotFoundError) as told:
        Storage.at(place.uri).read("b")
    assert told.value.errno == errno.ENOENT
    assert "http" not in str(told.value)


@pytest.mark.parametrize("missing", ["photos/none", "none"])
def test_a_folder_or_a_bucket_that_is_not_there(place: Place, missing: str) -> None:
    place.put(a=b"1")
    uri = place.uri.replace("photos", missing)
    with pytest.raises(InputError, match=f"^{uri} (does not exist|cannot be listed: there is no)"):
        Storage.at(uri).files()


def test_a_range_behind_the_end(place: Place) -> None:
    place.put(a=b"12345")
    number = 0
    try:
        assert Storage.at(place.uri).read_range("a", 10, 5) == b""
    except OSError as error:
        number = error.errno or -1
    assert number in (0, errno.EINVAL)


@pytest.mark.parametrize("status", [401, 403])
def test_a_file_that_is_refused(place: Place, status: int) -> None:
    place.put(a=b"1", b=b"2")
    place.bucket.refusals["a"] = [status] * 50
    storage = Storage.at(place.uri)
    storage.files()
    with pytest.raises(PermissionError) as told:
        storage.read("a")
    assert KEY not in str(told.value)
    assert TOKEN not in str(told.value)
    assert storage.read("b") == b"2"


@pytest.mark.parametrize("place", ["gs", "hf"], indirect=True)  # adlfs waits for 15 seconds
def test_a_fault_that_passes(place: Place) -> None:
    place.put(a=b"1")
    storage = Storage.at(place.uri)
    storage.files()
    place.bucket.refusals["a"] = [503]
    assert storage.read("a") == b"1"


class Answered(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("no\nlong story")
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Answered(404), FileNotFoundError),
        (Answered(416), OSError),
        (Answered(403), PermissionError),
        (Answered(400), PermissionError),
        (Answered(429), OutageError),
        (Answered(500), OutageError),
        (OSError("Forbidden: b/x\nno rights"), PermissionError),
        (EOFError("store:9 hung up\nlong story"), OutageError),
    ],
)
def test_errors_of_packages(error: Exception, kind: type[Exception]) -> None:
    told = reading_error(error, "gs://b/a")
    assert type(told) is kind
    assert "long story" not in str(told)
    assert "gs://b/a" in str(told)


def test_errors_with_numbers_stay() -> None:
    error = OSError(errno.EINVAL, "odd")
    assert reading_error(error, "gs://b/a") is error


def test_the_hub_s_token_does_not_follow_a_redirect(place: Place) -> None:
    place.put(a=b"1")
    assert Storage.at(place.uri).read("a") == b"1"
    if place.uri.startswith("hf"):
        asked = {path: "authorization" in map(str.lower, h) for _, path, h in place.bucket.requests}
        assert asked["datasets/we/photos/resolve/main/a"]
        assert not asked["content/datasets/we/photos/a"]


def test_a_table_in_it_is_read_by_parts(place: Place) -> None:
    table = pa.table({"url": [f"images/{n}.png" for n in range(1000)]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    place.put(**{"list.parquet": buffer.getvalue()})
    rows = list(uri_lists.rows_of(f"{place.uri}/list.parquet", uri_lists.ListColumns()))
    assert [row.values["url"] for row in rows] == table["url"].to_pylist()


def test_a_tar_is_indexed_and_read_by_ranges(place: Place, tmp_path: Path) -> None:
    images = {f"{n}.png": png(n) for n in range(4)}
    place.put(**{"s/x-0.tar": tar_bytes(images), "s/y.txt": b""})
    for location in (f"{place.uri}/s/x-0.tar", f"{place.uri}/s/x-*.tar"):
        reader, _ = indexed(tmp_path / location[-5], images=location)
        found = entries(reader)
        assert [entry["image_id"] for entry in found] == ["0", "1", "2", "3"]
        assert [reader.content(entry) for entry in found] == list(images.values())


def test_a_list_mixes_places(place: Place, tmp_path: Path) -> None:
    place.put(**{"b/1.png": png(7), "b/c/2.png": png(8)})
    (tmp_path / "near.png").write_bytes(png(9))
    rows = ["url", f"{place.uri}/b/1.png", "near.png", f"{place.uri}/no.png"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    reader, _ = indexed(tmp_path, images=tmp_path / "list.csv")
    contents = {entry["image_id"]: reader.content(entry) for entry in entries(reader)}
    assert contents == {f"{place.inside}/b/1": png(7), "near": png(9)}
    (row,) = reader.quarantine()
    assert re.fullmatch(r"cannot be read: (there is n|N)o such file.*", row["reason"])
    for file in (tmp_path / "ws").rglob("*.*"):
        assert not {KEY, TOKEN} & set(re.findall(r"[\w=]{9,}", file.read_text("latin-1")))
    place.put(**{"list.txt": b"b/1.png\nb/c/2.png\n"})
    reader, _ = indexed(tmp_path / "2", images=f"{place.uri}/list.txt")
    assert [reader.content(entry) for entry in entries(reader)] == [png(7), png(8)]


@pytest.mark.parametrize("place", ["gs", "az"], indirect=True)
class TestWorkspaces:
    """What a workspace needs beside reading."""

    def test_files_are_written_listed_and_removed(self, place: Place) -> None:
        storage = Storage.at(place.uri)
        storage.write("a/1.json", b"1")
        storage.write("a/2.json", b"2")
        storage.write("a/b/3.json", b"3")
        assert storage.names("a") == ["1.json", "2.json", "b"]
        assert storage.folders("a") == ["b"]
        storage.write("a/1.json", b"more")
        assert storage.read_many(["a/1.json", "a/4.json"]) == [b"more", None]
        storage.remove("a/1.json")
        storage.remove("a/1.json")
        assert not storage.exists("a/1.json")
        assert storage.exists("a")
        assert storage.names("none") == []

    def test_a_large_file_is_uploaded(self, place: Place, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
        Storage.at(place.uri).upload("file", tmp_path / "file")
        assert Storage.at(place.uri).read("file") == bytes(range(256)) * 1000

    def test_rows_of_arrays(self, place: Place) -> None:
        values = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
        storage, layout = Storage.at(place.uri), arrays.Layout((64, 8), "float32", 16)
        arrays.create(storage, "a.zarr", {"values": layout})
        for shard in range(4):
            part = values[shard * 16 : shard * 16 + 16]
            arrays.write_shard(storage, "a.zarr", "values", shard, part)
        for rows in (slice(0, 64), slice(5, 6), slice(14, 20)):
            assert (arrays.read_rows(storage, "a.zarr", "values", rows) == values[rows]).all()
        few = np.array([3, 40])
        assert (arrays.read_scattered(storage, "a.zarr", "values", few) == values[few]).all()
