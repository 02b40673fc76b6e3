"""Archives are indexed once: a run that ends meanwhile goes on with the next one."""

from pathlib import Path

import pytest
from archives import png, tar_bytes
from piles import entries, indexed
from web_server import serving

from stego_core.errors import OutageError
from tasks.sources import inventory
from tasks.storage import http_hosts


def test_indexed_archives_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_hosts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(inventory, "INDEXED_AT_ONCE", 1)
    files = {f"x-{n}.tar": tar_bytes({f"{n}.png": png(n)}) for n in range(3)}
    with serving(files=files) as web:
        # The first answer has the size, the second is the header: there the server fails.
        web.faults["x-1.tar"] = [None, *[500] * http_hosts.ATTEMPTS]
        location = f"{web.url}/x-{{0..2}}.tar"
        with pytest.raises(OutageError, match=r"x-1.tar was requested 5 times"):
            indexed(tmp_path, images=location)
        before = web.counts()
        monkeypatch.setattr(inventory.tar_index, "TarWalk", counted(walked := []))
        reader, _ = indexed(tmp_path, images=location)
        assert before["/x-0.tar"] >= 2
        assert walked == [len(files["x-1.tar"])]  # the third was indexed meanwhile
        assert [entry["image_id"] for entry in entries(reader)] == ["0", "1", "2"]
        members = tmp_path / "ws" / "corpus" / "d" / "members"
        assert not [file for file in members.rglob("*") if file.is_file()]


def counted(walked: list[int]) -> object:
    """TarWalk, noting the size of each archive that is walked over."""
    real = inventory.tar_index.TarWalk

    def walk(file: object, size: int) -> object:
        walked.append(size)
        return real(file, size)  # type: ignore[arg-type]

    return walk


def test_rows_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "ROWS_AT_ONCE", 2)
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "l.txt").write_text("\n".join(f"{n}.png" for n in (0, 1, 2, 0, 3, 1, 4)))
    reader, told = indexed(tmp_path, images=tmp_path / "l.txt")
    assert [entry["image_id"] for entry in entries(reader)] == ["0", "1", "2", "3", "4"]
    assert told.kinds["repeated address"].count == 2
