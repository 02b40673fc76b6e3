"""Members of zip archives by ranges, and archives that are made to do harm."""

import io
import stat
import struct
import zipfile

import pytest
from archives import zip_bytes

from stego_core.errors import ImageError
from tasks.sources import zip_index
from tasks.sources.members import Flaw, Member

FILES = {"a.jpg": b"a" * 5000, "d/b.jpg": bytes(range(256)), "e.jpg": b""}


def found(content: bytes) -> tuple[list[Member], list[Flaw]]:
    all_ = list(zip_index.members(io.BytesIO(content), len(content)))
    return (
        [each for each in all_ if isinstance(each, Member)],
        [each for each in all_ if isinstance(each, Flaw)],
    )


def read(content: bytes, member: Member) -> bytes:
    offset, length = zip_index.span(member.offset, member.length)
    part = content[offset : offset + length]
    more = zip_index.missing(part, member.length)
    part += content[offset + len(part) : offset + len(part) + more]
    return zip_index.unpacked(part, member.length, member.packing)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_member_is_what_was_put_in(method: int) -> None:
    content = zip_bytes(FILES, method)
    members, flaws = found(content)
    assert {member.name: read(content, member) for member in members} == FILES
    assert not flaws


def test_a_header_longer_than_is_fetched_at_first() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("n" * 900 + ".jpg")
        info.extra = struct.pack("<HH", 0xCAFE, 2000) + bytes(2000)
        archive.writestr(info, b"x" * 3000)
    (member,), _ = found(buffer.getvalue())
    assert read(buffer.getvalue(), member) == b"x" * 3000


def test_a_member_that_was_written_as_a_stream() -> None:
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.content += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.writestr("a.jpg", b"abc" * 100)
    (member,), _ = found(stream.content)
    assert read(stream.content, member) == b"abc" * 100


def test_members_that_cannot_be_used() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("d")
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("../up.jpg", b"x")
        archive.writestr("/abs.jpg", b"x")
        archive.writestr("packed.jpg", b"x" * 100, zipfile.ZIP_LZMA)
        archive.writestr("fine.jpg", b"x")
    members, flaws = found(buffer.getvalue())
    assert [member.name for member in members] == ["fine.jpg"]
    kinds = [(flaw.kind, flaw.name) for flaw in flaws]
    assert kinds == [
        ("link", "link.jpg"),
        ("unsafe name", "../up.jpg"),
        ("unsafe name", "/abs.jpg"),
        ("packed otherwise", "packed.jpg"),
    ]


def altered(content: bytes, offset: int, form: str, value: int) -> bytes:
    """The archive with a field of its only entry in the directory altered."""
    entry = content.rindex(b"PK\1\2") + offset
    return content[:entry] + struct.pack(form, value) + content[entry + struct.calcsize(form) :]


def test_an_encrypted_member() -> None:
    _, (flaw,) = found(altered(zip_bytes({"a.jpg": b"x"}), 8, "<H", 1))
    assert (flaw.kind, flaw.name) == ("encrypted", "a.jpg")


def test_a_bomb_that_says_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_index, "MOST_UNPACKED", 1000)
    _, (flaw,) = found(zip_bytes({"a.jpg": bytes(2000)}))
    assert (flaw.kind, flaw.name) == ("bomb", "a.jpg")


def test_a_bomb_that_hides_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    content = altered(zip_bytes({"a.jpg": bytes(2000)}), 24, "<I", 10)
    (member,), _ = found(content)
    monkeypatch.setattr(zip_index, "MOST_UNPACKED", 1000)
    with pytest.raises(ImageError, match="more than 1,000 bytes"):
        read(content, member)


def test_members_that_overlap() -> None:
    content = altered(zip_bytes({"a.jpg": b"x", "b.jpg": b"y"}), 42, "<I", 0)
    members, flaws = found(content)
    assert len(members) + len(flaws) == 2
    assert flaws[0].kind == "cut off"


def test_damage_is_told() -> None:
    whole = zip_bytes({"a.jpg": bytes(range(256)) * 8}, zipfile.ZIP_STORED)
    (member,), _ = found(whole)
    at = whole.index(bytes(range(256)))
    for wrong in (
        whole[:at] + b"\xff" + whole[at + 1 :],  # a byte is another
        b"XX" + whole[2:],  # no header is there
        whole[: at + 100],  # it ends too early
    ):
        with pytest.raises(ImageError):
            read(wrong, member)
    _, (flaw,) = found(whole[: len(whole) // 2])
    assert flaw.kind == "unreadable archive"
    _, (flaw,) = found(b"no zip")
    assert flaw.kind == "unreadable archive"


def test_packed_bytes_that_are_damaged() -> None:
    content = zip_bytes({"a.jpg": bytes(range(256)) * 9})
    (member,), _ = found(content)
    begin = content.index(b"a.jpg") + 5
    wrong = content[: begin + 3] + b"\xff\xff\xff" + content[begin + 6 :]
    with pytest.raises(ImageError, match="damaged"):
        read(wrong, member)
