"""Members of tars: as Python's own module finds them, and what it does not tell of damage."""

import io
import tarfile

import pytest
from archives import tar_bytes
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.members import Flaw, Member
from tasks.sources.tar_index import TarWalk

FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
FILES = {"a.jpg": b"a" * 700, "d/b.jpg": b"", "d/c.jpg": b"c" * 512, "e.jpg": b"e"}


def walk(content: bytes) -> list[Member | Flaw]:
    return list(TarWalk(io.BytesIO(content), len(content)))


def members(content: bytes) -> dict[str, bytes]:
    found = [each for each in walk(content) if isinstance(each, Member)]
    return {each.name: content[each.offset : each.offset + each.length] for each in found}


def flaws(content: bytes) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in walk(content) if isinstance(each, Flaw)]


@pytest.mark.parametrize("form", FORMS)
@given(
    st.dictionaries(
        st.text("abü_- ", min_size=1, max_size=40).map(lambda name: f"d/{name}.jpg"),
        st.binary(max_size=2000),
        max_size=8,
    ),
)
def test_the_same_as_tarfile(form: int, files: dict[str, bytes]) -> None:
    content = tar_bytes(files, form)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        slow = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert members(content) == slow == files
    assert flaws(content) == []


@pytest.mark.parametrize("form", FORMS[1:])
def test_long_names(form: int) -> None:
    name = "/".join(["folder" * 9] * 6) + "/ü.jpg"
    assert members(tar_bytes({name: b"x", "b.jpg": b"y"}, form)) == {name: b"x", "b.jpg": b"y"}


def test_members_that_are_no_images() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("s.jpg", tarfile.SYMTYPE),
            ("h.jpg", tarfile.LNKTYPE),
            ("f.jpg", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("/abs.jpg", "../up.jpg", "a/../../up.jpg", "./fine.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    content = buffer.getvalue()
    assert members(content) == {"fine.jpg": b"x"}
    assert flaws(content) == [
        *(("link", name) for name in ("s.jpg", "h.jpg", "f.jpg")),
        *(("unsafe name", name) for name in ("/abs.jpg", "../up.jpg", "a/../../up.jpg")),
    ]


def test_a_tar_that_is_cut_off_gives_what_is_whole() -> None:
    content = tar_bytes(FILES)
    cut = content[: content.index(b"c" * 512) + 100]
    assert list(members(cut)) == ["a.jpg", "d/b.jpg"]
    assert flaws(cut) == [("cut off", "d/c.jpg"), ("no end", f"byte {len(cut):,}")]


def test_a_tar_without_an_end_mark() -> None:
    content = tar_bytes(FILES)
    end = content.rindex(b"e" * 1) // 512 * 512 + 512
    assert list(members(content[:end])) == list(FILES)
    assert [kind for kind, _ in flaws(content[:end])] == ["no end"]


def test_behind_a_damaged_header_the_walk_goes_on() -> None:
    content = bytearray(tar_bytes(FILES))
    at = content.index(b"d/b.jpg")
    content[at : at + 200] = b"\xff" * 200
    assert list(members(bytes(content))) == ["a.jpg", "d/c.jpg", "e.jpg"]
    assert flaws(bytes(content)) == [("damaged part", f"bytes {at:,} to {at + 512:,}")]


def test_no_tar_at_all() -> None:
    noise = bytes(range(1, 256)) * 20
    assert members(noise) == {}
    assert [kind for kind, _ in flaws(noise)] == ["damaged part"]
    assert [kind for kind, _ in flaws(b"")] == ["no end"]


def test_tars_that_were_put_one_behind_the_other() -> None:
    content = tar_bytes({"a.jpg": b"a"}) + tar_bytes({"b.jpg": b"b"})
    assert members(content) == {"a.jpg": b"a", "b.jpg": b"b"}


def test_a_size_beyond_the_file_in_a_header() -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size = 2**40
    content = info.tobuf() + bytes(1024)
    assert flaws(content)[0] == ("cut off", "a.jpg")


def test_a_sparse_file_is_told() -> None:
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "a.jpg"}
    info.size = 5
    content = info.tobuf(tarfile.PAX_FORMAT) + b"12345".ljust(512, b"\0") + bytes(1024)
    assert flaws(content) == [("packed otherwise", "a.jpg")]
