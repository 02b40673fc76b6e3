"""Dumps of archives and lists: ids, labels, what is left out, and bytes as they went in."""

import csv
import io
import json
import tarfile
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from archives import label_png, png, shards, tar_bytes, zip_bytes
from piles import entries, indexed, kinds
from web_server import serving

from stego_core.errors import ImageError, InputError, OptionError
from tasks.corpus.index import IndexReader
from tasks.storage import http_hosts
from tasks.storage.storage import Storage

FOUR = "x-{000000..000003}.tar"


def contents(reader: IndexReader) -> dict[str, bytes]:
    return {entry["image_id"]: reader.content(entry) for entry in entries(reader)}


def stems(images: dict[str, bytes]) -> dict[str, bytes]:
    return {name.rpartition(".")[0]: content for name, content in images.items()}


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("place", ["local", "memory", "s3"])
def test_shards_are_read_as_they_were_written(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    images, folder = shards(tmp_path / "in", 4, 3), str(tmp_path / "in")
    if place != "local":
        s3 = request.getfixturevalue("s3_environment") if place == "s3" else ""
        storage = Storage(f"{s3 or f'memory://{uuid4().hex}'}/in")
        for file in (tmp_path / "in").iterdir():
            storage.write(file.name, file.read_bytes())
        folder = storage.uri
    reader, told = indexed(tmp_path, images=f"{folder}/{FOUR}")
    assert contents(reader) == stems(images)
    assert kinds(told) == {}
    assert told.remarks == []
    assert entries(reader)[4]["path"] == "x-000001.tar/000004.png"
    starred, _ = indexed(tmp_path, dump="stars", images=f"{folder}/x-*.tar")
    assert contents(starred) == stems(images)


@pytest.mark.parametrize("ranges", [True, False])
def test_shards_of_a_web_server(tmp_path: Path, ranges: bool) -> None:
    images = shards(tmp_path / "in", 2, 3)
    files = {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    with serving(files=files, ranges=ranges) as web:
        reader, _ = indexed(tmp_path, images=f"{web.url}/x-{{000000..000001}}.tar")
        assert contents(reader) == stems(images)
        whole = [path for path, headers in web.requests if "Range" not in headers]
        assert len(whole) == (0 if ranges else 2)


def test_a_shard_of_a_web_server_is_not_read_whole_for_an_image(tmp_path: Path) -> None:
    size = 40 * 2**20
    content = tar_bytes({"a.png": png(0), "big.bin": bytes(size), "b.png": png(1)})
    with serving(files={"x.tar": content}) as web:
        reader, _ = indexed(tmp_path, images=f"{web.url}/x.tar")
        assert list(contents(reader)) == ["a", "b"]
        assert web.sent < size / 4


def ids(reader: IndexReader) -> dict[bytes, str]:
    return {content: image_id for image_id, content in contents(reader).items()}


def test_ids_do_not_depend_on_shards_or_on_what_came_later(tmp_path: Path) -> None:
    few, many, more = (tmp_path / name for name in ("few", "many", "more"))
    shards(few, 2, 6)
    shards(many, 6, 2)
    shards(more, 4, 6)
    first, second, third = (
        ids(indexed(tmp_path, dump=folder.name, images=f"{folder}/*.tar")[0])
        for folder in (few, many, more)
    )
    assert first == second
    assert first.items() <= third.items()


def test_members_of_one_name_in_two_shards_are_both_there(tmp_path: Path) -> None:
    for shard in range(2):
        (tmp_path / f"x-{shard}.tar").write_bytes(tar_bytes({"0.png": png(shard)}))
    reader, told = indexed(tmp_path, images=f"{tmp_path}/x-{{0..1}}.tar")
    names = ids(reader)
    assert names[png(0)] == "0"
    assert names[png(1)].startswith("0~")
    assert told.remarks == [
        "1 images have the name of another one, or one that is no file's: their ids are marked "
        f"(for example {names[png(1)]})"
    ]
    alone, _ = indexed(tmp_path, dump="alone", images=f"{tmp_path}/x-0.tar")
    assert ids(alone)[png(0)] == "0"


def test_a_later_member_of_one_name_replaces_the_first(tmp_path: Path) -> None:
    buffer = io.BytesIO(tar_bytes({"a.png": png(0)}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(png(1))
        archive.addfile(info, io.BytesIO(png(1)))
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    reader, told = indexed(tmp_path, images=tmp_path / "x.tar")
    assert contents(reader) == {"a": png(1)}
    assert kinds(told) == {"repeated member": (1, "x.tar/a.png")}


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
@pytest.mark.parametrize("part", ["seg", "label", "mask"])
def test_labels_are_members_of_the_same_key(tmp_path: Path, pack: object, part: str) -> None:
    name = f"x.{'tar' if pack is tar_bytes else 'zip'}"
    files = {
        "d/a.png": png(0),
        f"d/a.{part}.png": label_png(0, 1),
        "d/b.rgb.png": png(1),
        f"d/b.{part}.png": label_png(1, 1),
        f"d/c.{part}.png": label_png(1),
        "d/e.png": png(2),
        "d/a.json": b"{}",
    }
    (tmp_path / name).write_bytes(pack(files))  # type: ignore[operator]
    reader, told = indexed(tmp_path, images=tmp_path / name)
    labels = {entry["image_id"]: reader.labels(entry) for entry in entries(reader)}
    assert list(labels) == ["d/a", "d/b.rgb", "d/e"]
    assert labels["d/e"] is None
    assert np.unique(labels["d/a"]).tolist() == [0, 1]
    assert np.unique(labels["d/b.rgb"]).tolist() == [1]
    assert kinds(told) == {
        "orphan label": (1, f"{name}/d/c.{part}.png"),
        "other ending": (1, f"{name}/d/a.json"),
    }


def test_labels_by_a_suffix(tmp_path: Path) -> None:
    files = {"a_rgb.png": png(0), "a_gt.png": label_png(0, 1)}
    (tmp_path / "x.tar").write_bytes(tar_bytes(files))
    suffixes = {"image_suffix": "_rgb", "label_suffix": "_gt"}
    reader, _ = indexed(tmp_path, images=tmp_path / "x.tar", **suffixes)
    (entry,) = entries(reader)
    assert (entry["image_id"], entry["label"]) == ("a_rgb", "x.tar/a_gt.png")


def test_a_list_of_any_schemes(tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    for number in range(4):
        (tmp_path / "imgs" / f"{number}.png").write_bytes(png(number))
    bucket = Storage(f"memory://{uuid4().hex}")
    bucket.write("b/1.png", png(5))
    bucket.write("b/1-label.png", label_png(0, 1))
    with serving(files={"w/a.png": png(6)}) as web:
        rows = [
            {"url": "imgs/0.png", "label": "", "split": "train", "caption": "zero"},
            {"url": str(tmp_path / "imgs/1.png"), "label": "", "split": "train", "caption": ""},
            {"url": f"file://{tmp_path}/imgs/2.png", "label": "", "split": "val", "caption": ""},
            {"url": f"{bucket.uri}/b/1.png", "label": f"{bucket.uri}/b/1-label.png",
             "split": "train", "caption": ""},
            {"url": f"{web.url}/w/a.png", "label": "", "split": "train", "caption": ""},
        ]  # fmt: skip
        path = write_csv(tmp_path / "list.csv", rows)
        reader, told = indexed(tmp_path, images=path, label_column="label")
        host = web.url.removeprefix("http://").replace(":", "_")
        whole = str(tmp_path).lstrip("/")
        assert contents(reader) == {
            "imgs/0": png(0),
            f"{whole}/imgs/1": png(1),
            f"{whole}/imgs/2": png(2),
            f"{bucket.uri.removeprefix('memory://')}/b/1": png(5),
            f"{host}/w/a": png(6),
        }
    assert kinds(told) == {}
    first, *_, labelled, _ = entries(reader)
    assert (first["caption"], first["split"], first["path"]) == ("zero", "train", "imgs/0.png")
    assert np.unique(reader.labels(labelled)).tolist() == [0, 1]
    part, told = indexed(tmp_path, dump="val", images=path, split="val", label_column="label")
    assert part.manifest["images"] == 1
    assert kinds(told)["other split"][0] == 4


def test_ids_of_a_list_do_not_depend_on_its_order_or_length(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(6)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(png(number))
    orders = {"short": names[:3], "long": names, "back": names[::-1]}
    found = {}
    for order, chosen in orders.items():
        (tmp_path / f"{order}.txt").write_text("\n".join(chosen))
        found[order] = ids(indexed(tmp_path, dump=order, images=tmp_path / f"{order}.txt")[0])
    assert found["long"] == found["back"]
    assert found["long"] == {png(n): str(n) for n in range(6)}
    assert found["short"].items() <= found["long"].items()


def test_images_that_differ_in_their_endings_only(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "a.webp")):
        (tmp_path / name).write_bytes(png(number))
    for order in ("a.png\na.webp", "a.webp\na.png"):
        (tmp_path / "l.txt").write_text(order)
        dump = "ab" if order.startswith("a.png") else "ba"
        names = ids(indexed(tmp_path, dump=dump, images=tmp_path / "l.txt")[0])
        assert names[png(0)] == "a"
        assert names[png(1)].startswith("a~")


def test_addresses_that_are_there_twice_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "list.txt").write_text(f"a.png\n./a.png\n\n# a remark\n{tmp_path}/a.png\n")
    reader, told = indexed(tmp_path, images=tmp_path / "list.txt")
    assert list(contents(reader)) == ["a"]
    assert kinds(told)["repeated address"][0] == 2


def test_given_ids_name_the_masks(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    given = ["cat", "cat", "../up", "a/b"]
    rows = [{"path": f"{n}.png", "id": name} for n, name in enumerate(given)]
    reader, told = indexed(tmp_path, images=write_csv(tmp_path / "l.csv", rows))
    names = ids(reader)
    assert names[png(0)] == "cat"
    assert names[png(1)].startswith("cat~")
    assert (names[png(2)], names[png(3)]) == ("up", "a/b")
    assert "1 images have the name of another one" in told.remarks[0]


def test_a_list_of_json_lines_and_one_of_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    lines = [{"file_name": "0.png"}, {"file_name": "1.png", "caption": "one"}]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pq.write_table(pa.table({"where": ["0.png", "1.png"]}), tmp_path / "l.parquet")
    for name, columns in (("l.jsonl", {}), ("l.parquet", {"url_column": "where"})):
        reader, _ = indexed(tmp_path, dump=name, images=tmp_path / name, **columns)
        assert contents(reader) == {"0": png(0), "1": png(1)}
    captions = [entry["caption"] for entry in entries(IndexReader(reader.workspace, "l.jsonl"))]
    assert captions == [None, "one"]


def test_secrets_stay_in_the_list(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with serving(files={"a.png": png(0), "b.png": png(1)}) as web:
        rows = [f"{web.url}/a.png?X-Amz-Signature=hushhush", f"{web.url}/b.png?id=3&sig=hushhush",
                f"{web.url}/gone.png?token=hushhush"]  # fmt: skip
        (tmp_path / "l.txt").write_text("\n".join(rows))
        reader, _ = indexed(tmp_path, images=tmp_path / "l.txt")
        assert sorted(contents(reader).values()) == sorted([png(0), png(1)])
        assert [row["reason"] for row in reader.quarantine()] == [
            "cannot be read: HTTP 404 Not Found"
        ]
        renewed = [row.replace("hushhush", "renewed!") for row in rows[::-1]]
        (tmp_path / "l.txt").write_text("\n".join(renewed))
        again = IndexReader(reader.workspace, reader.dump)
        web.requests.clear()
        from tasks.storage.run_cache import during

        with during("another run"):
            assert sorted(contents(again).values()) == sorted([png(0), png(1)])
        assert all("renewed" in path for path, _ in web.requests)
    written = b"".join(f.read_bytes() for f in (tmp_path / "ws").rglob("*") if f.is_file())
    shown = json.dumps([*entries(reader), reader.manifest, reader.quarantine()]) + caplog.text
    assert b"hushhush" not in written
    assert "hushhush" not in shown


def test_what_a_web_server_does_not_give_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_hosts, "FIRST_WAIT", 0.01)
    with serving(files={name: png(0) for name in ("a.png", "b.png", "c.png")}) as web:
        web.always |= {"b.png": 503, "c.png": "cut"}
        rows = [f"{web.url}/{name}" for name in ("a.png", "b.png", "c.png", "d.png")]
        (tmp_path / "l.txt").write_text("\n".join(rows))
        reader, _ = indexed(tmp_path, images=tmp_path / "l.txt")
    assert len(contents_or_errors(reader)) == 1
    reasons = {row["path"].rpartition("/")[2]: row["reason"] for row in reader.quarantine()}
    assert "at last with HTTP 503 Service Unavailable" in reasons["b.png"]
    assert "at last with RemoteProtocolError" in reasons["c.png"]
    assert reasons["d.png"] == "cannot be read: HTTP 404 Not Found"


def contents_or_errors(reader: IndexReader) -> list[str]:
    return [entry["image_id"] for entry in entries(reader)]


def test_a_glob_of_files(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/d/b.png", "in/d/e/c.png", "in/d/e/c.bmp", "in/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    reader, _ = indexed(tmp_path, images=f"{tmp_path}/in/**/*.png")
    assert [e["image_id"] for e in entries(reader)] == ["a", "d/b", "d/e/c"]
    below, _ = indexed(tmp_path, dump="below", images=f"{tmp_path}/in/d/{{b,c}}.png")
    assert [e["image_id"] for e in entries(below)] == ["b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", "a,b\n1,2\n", "no column that is known to have addresses; it has 'a', 'b'"),
        ("l.csv", "", "has no rows"),
        ("l.csv", "url\n", "has no rows"),
        ("l.txt", "\n# nothing\n", "has no rows"),
        ("l.jsonl", "", "has no rows"),
        ("l.jsonl", '{"a": 1}\n', "no column that is known to have addresses; it has 'a'"),
        ("l.parquet", "PAR1 no", "is no Parquet file, or is damaged"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        indexed(tmp_path, images=tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("l.csv", "url,id\na.png,1\nb.png\n", 3),
        ("l.csv", 'url,id\na.png,1\n"b.png', 3),
        ("l.jsonl", '{"url": "a.png"}\n{"url": "b.p', 2),
        ("l.jsonl", '{"url": "a.png"}\n[1]\n', 2),
        ("l.jsonl", '{"url": "a.png"}\n{"urls": "b"}\n', 2),
        ("l.txt", "a.png\nftp://host/b.png\n", 2),
        ("l.txt", "a.png\nhttp://user:secret@host/b.png\n", 2),
        ("l.txt", "a.png\nsimplecache::http://host/b.png\n", 2),
    ],
)
def test_lines_that_cannot_be_used_are_told_by_number(
    tmp_path: Path, name: str, content: str, line: int
) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / name).write_text(content)
    reader, told = indexed(tmp_path, images=tmp_path / name)
    assert reader.manifest["images"] == 1
    assert kinds(told) == {"list line": (1, f"{tmp_path / name}, line {line}")}
    assert "secret" not in told.lines()[0]


def test_a_list_from_the_web_names_no_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    rows = f"{tmp_path}/a.png\nfile://{tmp_path}/a.png\nb.png\n"
    with serving(files={"d/l.txt": rows.encode(), "d/b.png": png(1)}) as web:
        reader, told = indexed(tmp_path, images=f"{web.url}/d/l.txt")
        assert list(contents(reader).values()) == [png(1)]
    assert kinds(told) == {"list line": (2, f"{web.url}/d/l.txt, line 1")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "labels"}, "KEY.seg.png is the label"),
        ({"pages": "all"}, "--pages all is for files"),
        ({"url_column": "a"}, "--url-column is for lists"),
        ({"split": "train"}, "--split is for lists"),
    ],
)
def test_options_that_archives_do_not_have(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    shards(tmp_path, 1, 1)
    with pytest.raises(OptionError, match=message):
        indexed(tmp_path, images=tmp_path / "x-000000.tar", **options)


def test_a_missing_shard_is_told_and_the_others_are_used(tmp_path: Path) -> None:
    shards(tmp_path / "in", 2, 2)
    (tmp_path / "in" / "x-000002.tar").write_bytes(b"")
    reader, told = indexed(tmp_path, images=f"{tmp_path}/in/{FOUR}")
    assert reader.manifest["images"] == 4
    assert kinds(told) == {
        "unreadable archive": (1, f"{tmp_path}/in/x-000003.tar"),
        "no end": (1, "x-000002.tar/byte 0"),
    }


def test_no_shard_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        indexed(tmp_path, images=f"{tmp_path}/{FOUR}")
    with pytest.raises(InputError, match="no file matches"):
        indexed(tmp_path, images=f"{tmp_path}/*.tar")
    with pytest.raises(InputError, match="compressed as a whole"):
        indexed(tmp_path, images=tmp_path / "x.tar.gz")
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a.txt": b"x"}))
    with pytest.raises(InputError, match=r"no images in .*x.tar; left out: 1 file whose"):
        indexed(tmp_path, images=tmp_path / "x.tar")


def test_an_archive_that_changed_meanwhile(tmp_path: Path) -> None:
    shards(tmp_path, 1, 2)
    path = tmp_path / "x-000000.tar"
    reader, _ = indexed(tmp_path, images=path)
    first, second = entries(reader)
    path.write_bytes(path.read_bytes()[: second["offset"] + 10])
    assert reader.content(first) == png(0)
    with pytest.raises(ImageError, match="cut off"):
        reader.content(second)
    path.unlink()
    with pytest.raises(ImageError, match="cannot be read any more: No such file"):
        reader.content(first)


def test_a_folder_of_archives_says_how_they_are_given(tmp_path: Path) -> None:
    shards(tmp_path / "in", 2, 1)
    with pytest.raises(InputError, match=r"give them: --images '.*/in/\*.tar'"):
        indexed(tmp_path, images=tmp_path / "in")
