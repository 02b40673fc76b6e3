"""Members of archives come together where they lie together, and are what each is alone."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import label_png, png, tar_bytes, zip_bytes
from piles import entries, indexed
from web_server import serving

from stego_core.errors import ImageError
from tasks.sources import reading
from tasks.sources.reading import Block, MemberReader, runs
from tasks.sources.uri_lists import ListColumns
from tasks.storage.http_client import HostError
from tasks.storage.storage import RANGE_BYTES, Storage

FILES = {f"{n}.png": png(n) for n in range(6)}
ARCHIVES = {
    "x.tar": tar_bytes(FILES),
    "stored.zip": zip_bytes(FILES, zipfile.ZIP_STORED),
    "packed.zip": zip_bytes(FILES),
}


def row(offset: int, length: int = 10, of: str = "x.tar", packing: str | None = "tar") -> Any:
    return {"object": of, "offset": offset, "length": length, "packing": packing}


def lengths(rows: list[Any]) -> list[int]:
    return [len(run) for run in runs(rows)]


def test_runs_are_cut_at_another_archive_far_members_and_whole_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lengths([]) == []
    assert lengths([row(900), row(0), row(RANGE_BYTES - 10)]) == [3]
    assert lengths([row(0), row(RANGE_BYTES - 9), row(RANGE_BYTES)]) == [1, 2]
    assert lengths([row(0), row(512, of="y.tar"), row(1024)]) == [1, 1, 1]
    assert lengths([row(0), row(512, packing=None), row(1024)]) == [1, 1, 1]
    assert lengths([row(0, 2 * RANGE_BYTES), row(3 * RANGE_BYTES)]) == [1, 1]
    monkeypatch.setattr(reading, "TOGETHER", 2)
    assert lengths([row(512 * n) for n in range(5)]) == [2, 2, 1]


@pytest.mark.parametrize("name", ARCHIVES)
def test_one_request_fetches_what_lies_together(tmp_path: Path, name: str) -> None:
    with serving(files=ARCHIVES) as web:
        reader, _ = indexed(tmp_path, images=f"{web.url}/{name}")
        rows = entries(reader)
        before = web.counts()[f"/{name}"]
        pictures = [picture.pixels for _, picture in reader.images(rows)]
        assert web.counts()[f"/{name}"] - before == 1
        alone = [reader.image(entry).pixels for entry in rows]
    assert len(pictures) == len(FILES)
    assert all(np.array_equal(*pair) for pair in zip(pictures, alone, strict=True))


def test_an_archive_that_is_cut_off_gives_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(ARCHIVES["x.tar"])
    reader, _ = indexed(tmp_path, images=path)
    rows = entries(reader)
    members = MemberReader.of(reader.manifest["members"])
    assert members is not None
    path.write_bytes(ARCHIVES["x.tar"][: rows[3]["offset"] + 5])
    block = members.block(rows)
    assert [members.read(each, block=block) for each in rows[:3]] == list(FILES.values())[:3]
    errors = [picture for _, picture in reader.images(rows) if isinstance(picture, ImageError)]
    assert [str(error) for error in errors] == ["its archive is cut off"] * 3
    path.unlink()
    assert members.block(rows) is None
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        members.read(rows[0], block=None)


def test_where_a_server_cuts_the_answer_each_image_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.tar").write_bytes(ARCHIVES["x.tar"])
    reader, _ = indexed(tmp_path, images=tmp_path / "x.tar")
    rows, read_range = entries(reader), Storage.read_range

    def cut(storage: Storage, path: str, offset: int, length: int) -> bytes:
        if offset + length > rows[4]["offset"]:
            raise HostError("cut off")
        return read_range(storage, path, offset, length)

    monkeypatch.setattr(Storage, "read_range", cut)
    members = MemberReader.of(reader.manifest["members"])
    assert members is not None
    block = members.block(rows)
    assert [members.read(each, block=block) for each in rows[:4]] == list(FILES.values())[:4]
    with pytest.raises(HostError):
        members.read(rows[4], block=block)


def test_a_single_image_is_read_by_itself(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(ARCHIVES["x.tar"])
    reader, _ = indexed(tmp_path, images=tmp_path / "x.tar")
    members = MemberReader.of(reader.manifest["members"])
    assert members is not None
    assert members.block(entries(reader)[:1]) is None


IMAGES = {f"{n}.png": png(n) for n in range(6)}
LABELS = {f"{n}.seg.png": label_png(n % 3, 3) for n in range(6)}
BESIDE = {name: (IMAGES | LABELS)[name] for name in sorted(IMAGES | LABELS)}
LABELLED = {
    "beside.tar": tar_bytes(BESIDE),
    "after.tar": tar_bytes(IMAGES | LABELS),
    "far.tar": tar_bytes(IMAGES | {"movie.bin": bytes(2 * RANGE_BYTES)} | LABELS),
    "packed.zip": zip_bytes(BESIDE),
}


@pytest.mark.parametrize(
    ("name", "most"), [("beside.tar", 1), ("after.tar", 1), ("packed.zip", 1), ("far.tar", 2)]
)
def test_labels_come_with_their_images(
    tmp_path: Path, name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, fetched = list[int](), MemberReader._fetched

    def noting(self: MemberReader, shown: str, span: tuple[int, int]) -> Any:
        asked.append(span[1] - span[0])
        return fetched(self, shown, span)

    monkeypatch.setattr(MemberReader, "_fetched", noting)
    with serving(files=LABELLED) as web:
        reader, _ = indexed(tmp_path, images=f"{web.url}/{name}")
        listed = web.counts()[f"/{name}"]
        rows = entries(reader)
        assert len(asked) == most
        assert sum(asked) < 2 * RANGE_BYTES
        blocks = reader.label_blocks(rows)
        assert web.counts()[f"/{name}"] == listed + 1
        together = [reader.labels(row, block) for row, block in zip(rows, blocks, strict=True)]
        assert web.counts()[f"/{name}"] == listed + 1
        alone = [reader.labels(row) for row in rows]
    assert len(rows) == 6
    assert all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))
    assert [int(ids.max()) for ids in alone if ids is not None] == [3] * 6


def test_blocks_of_labels_elsewhere() -> None:
    here, there = row(0), {**row(600)}
    label = {"label_object": "y.tar", "label_offset": 0, "label_length": 9, "label_packing": "tar"}
    reader = MemberReader("x.tar", ListColumns())
    asked: list[Any] = []

    class Noting(MemberReader):
        def _fetched(self, shown: str, span: tuple[int, int]) -> Any:
            asked.append((shown, span))
            return None

    noting = Noting(reader.location, reader.columns)
    noting.blocks([here, there])
    assert asked == [("x.tar", (0, 610))]
    asked.clear()
    noting.blocks([{**here, **label}, {**there, **label, "label_offset": 700}])
    assert asked == [("x.tar", (0, 610)), ("y.tar", (0, 709))]


def test_a_block_of_another_archive_is_not_used(tmp_path: Path) -> None:
    for name, content in (("x.tar", b"12345"), ("y.tar", b"abcde")):
        (tmp_path / name).write_bytes(content)
    x, y = str(tmp_path / "x.tar"), str(tmp_path / "y.tar")
    block = Block(Storage(x), 0, 5, b"12345")
    reader = MemberReader(x, ListColumns())
    assert reader.read(row(1, 3, of=x), block=block) == b"234"
    assert reader.read(row(1, 3, of=y), block=block) == b"bcd"
