"""Quarantined images are tried again, and nothing but those."""

from pathlib import Path

import pytest
from archives import png
from piles import entries, indexed, kinds
from web_server import serving

from stego_core.errors import InputError
from tasks.corpus.changed_files import arrived_later, check_unchanged
from tasks.corpus.quarantine import quarantined
from tasks.corpus.quarantined_again import next_name
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


def test_just_those_are_requested(tmp_path: Path) -> None:
    images = {f"{n}.png": png(n) for n in range(6)}
    with serving(files=dict(images)) as web:
        rows = [f"{web.url}/{name}?sig=secret" for name in images]
        (tmp_path / "l.txt").write_text("\n".join(rows))
        web.always |= {"1.png": 404, "4.png": 403}
        reader, _ = indexed(tmp_path, images=tmp_path / "l.txt")
        assert reader.manifest["images"] == 4
        web.requests.clear()
        del web.always["1.png"]
        workspace = Workspace.open(str(tmp_path / "ws"))
        assert next_name(workspace, "d") == ("d", "d-again-1")
        again, told = indexed(tmp_path, dump="d-again-1", images="quarantined://d")
        assert set(web.counts()) == {"/1.png", "/4.png"}
        (entry,) = entries(again)
        assert again.content(entry) == png(1)
        assert entry["image_id"].endswith("/1")
        assert kinds(told) == {}
        assert [row["reason"] for row in again.quarantine()] == [
            "cannot be read: HTTP 403 Forbidden"
        ]
        (left,) = quarantined(Summary(workspace))
        assert (left["dump"], left["path"].rpartition("/")[2]) == ("d-again-1", "4.png")
        web.requests.clear()
        web.always.clear()
        for name in ("d", "d-again-1"):
            assert next_name(workspace, name) == ("d-again-1", "d-again-2")
        last, _ = indexed(tmp_path, dump="d-again-2", images="quarantined://d-again-1")
        assert set(web.counts()) == {"/4.png"}
        assert last.content(entries(last)[0]) == png(4)
        assert quarantined(Summary(workspace)) == []
        for dump in ("d-again-1", "d-again-2"):
            check_unchanged(workspace, dump)
            assert arrived_later(workspace, dump) == []


def test_files_of_a_folder_with_their_labels(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(2):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
        (tmp_path / "labels" / f"{number}.png").write_bytes(png(number)[:50])
    from archives import label_png

    for number in range(2):
        (tmp_path / "labels" / f"{number}.png").write_bytes(label_png(0, 1))
    (tmp_path / "images" / "1.png").write_bytes(b"broken")
    indexed(tmp_path, images=tmp_path / "images", labels=tmp_path / "labels")
    (tmp_path / "images" / "1.png").write_bytes(png(1))
    again, _ = indexed(tmp_path, dump="d-again-1", images="quarantined://d")
    (entry,) = entries(again)
    assert (entry["image_id"], again.content(entry)) == ("1", png(1))
    assert again.labels(entry) is not None


def test_nothing_to_try(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "l.txt").write_text("a.png")
    indexed(tmp_path, images=tmp_path / "l.txt")
    with pytest.raises(InputError, match="no image of dump d is quarantined"):
        indexed(tmp_path, dump="e", images="quarantined://d")
    with pytest.raises(InputError, match="there is no dump 'f'; there are d"):
        indexed(tmp_path, dump="g", images="quarantined://f")


def test_none_can_be_had_yet(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "l.txt").write_text("a.png\nb.png")
    indexed(tmp_path, images=tmp_path / "l.txt")
    with pytest.raises(InputError, match=r"none of the 1 images can be used; the first: b.png"):
        indexed(tmp_path, dump="d-again-1", images="quarantined://d")
    assert Workspace.open(str(tmp_path / "ws")).dumps() == ["d"]
