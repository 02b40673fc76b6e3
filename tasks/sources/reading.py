"""The bytes of an image of an archive or a list, from the row that says where they lie."""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from stego_core.errors import ImageError, InputError
from tasks.sources import uri_lists, zip_index
from tasks.sources.address_book import AddressBook
from tasks.sources.addresses import Base
from tasks.sources.forms import Form, Object, form_of, objects_of
from tasks.sources.members import TAR, Flaw
from tasks.sources.uri_lists import ListColumns
from tasks.storage.http_client import HostError
from tasks.storage.redaction import HIDDEN, is_http, redacted
from tasks.storage.run_cache import remembered
from tasks.storage.storage import RANGE_BYTES, Storage

TOGETHER = 32
"""Members that one request fetches, at most: several runs are decoded side by side."""
GAP_BYTES = 2**16
"""Between images and their labels, at most, where one request fetches both."""
Row = Mapping[str, Any]
R = TypeVar("R", bound=Row)


@contextmanager
def image_errors(is_local: bool, problem: str) -> Iterator[None]:
    """Turn errors of reading a user's file into an ImageError that says `problem`.

    A transient error is raised as it is, to be tried again rather than frozen into a dump.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EINVAL:  # an object store's answer to a range behind the end
            raise ImageError(f"{problem}: its archive is shorter than it was") from None
        if not (is_local or isinstance(error, FileNotFoundError | PermissionError)):
            raise
        raise ImageError(f"{problem}: {error.strerror or error}") from None


class Block(NamedTuple):
    """Bytes of an archive that were fetched together, for the members that lie in them."""

    storage: Storage
    first: int
    last: int  # past the last byte that was asked for; an archive may end before
    content: bytes

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """As `Storage.read_range`, which is asked for what is not here."""
        begin = offset - self.first
        if begin >= 0 and offset + length <= self.last and begin < len(self.content):
            return self.content[begin : begin + length]
        return self.storage.read_range(path, offset, length)


Blocks = tuple[Block | None, Block | None]
"""Of images, and of their labels."""


def runs(rows: Iterable[R], prefix: str = "") -> Iterator[list[R]]:
    """Rows of images, in order, cut where the next one does not lie near the others of its run.

    A run's members lie within `RANGE_BYTES` of one archive; everything else is a run of its own.
    With the prefix `label_` it is their labels that lie so.
    """
    run: list[R] = []
    for row in rows:
        if run and not _are_near([*run, row], prefix):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _are_near(rows: Sequence[Row], prefix: str) -> bool:
    if len(rows) > TOGETHER or any(row.get(f"{prefix}packing") is None for row in rows):
        return False
    first, last = _span(rows, prefix)
    return len({row[f"{prefix}object"] for row in rows}) == 1 and last - first <= RANGE_BYTES


def _span(rows: Sequence[Row], prefix: str = "") -> tuple[int, int]:
    names = [f"{prefix}{name}" for name in ("offset", "length", "packing")]
    ranges = [_range(*(row[name] for name in names)) for row in rows]
    return min(offset for offset, _ in ranges), max(map(sum, ranges))


@dataclass(frozen=True)
class MemberReader:
    """Reads images of archives and lists; small and picklable."""

    location: str  # of the archives or lists, as --images has it
    columns: ListColumns  # of lists

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> "MemberReader | None":
        """From a dump's manifest; None where its images are files of a folder."""
        if document is None:
            return None
        return cls(document["location"], ListColumns(**document["columns"]))

    def document(self, objects: Sequence[Object] = ()) -> dict[str, Any]:
        """For a dump's manifest, with the archives or lists that were indexed."""
        indexed = [list(each) for each in objects]
        return {"location": self.location, "columns": self.columns._asdict(), "objects": indexed}

    def block(self, run: Sequence[Row], prefix: str = "") -> Block | None:
        """The bytes around the images of one of `runs`, by one request; None of a single image.

        None, too, where they cannot be had: reading each image then says which, and why.
        """
        if len(run) == 1:
            return None
        return self._fetched(run[0][f"{prefix}object"], _span(run, prefix))

    def blocks(self, run: Sequence[Row]) -> Blocks:
        """As `block`, of the images of a run and of their labels, which may be the same one.

        Where labels lie between their images, as WebDataset has them, one request fetches both.
        """
        labelled = [row for row in run if row.get("label_packing") is not None]
        if not labelled or not _are_near(labelled, "label_"):
            images = self.block(run)
            return images, images
        if run[0].get("packing") is None or labelled[0]["label_object"] != run[0]["object"]:
            return self.block(run), self.block(labelled, "label_")
        (first, last), (begin, end) = _span(run), _span(labelled, "label_")
        if max(last, end) - min(first, begin) > (last - first) + (end - begin) + GAP_BYTES:
            return self.block(run), self.block(labelled, "label_")
        both = self._fetched(run[0]["object"], (min(first, begin), max(last, end)))
        return both, both

    def _fetched(self, shown: str, span: tuple[int, int]) -> Block | None:
        with suppress(ImageError, HostError):
            storage, (first, last) = Storage(self._address(shown)), span
            with image_errors(storage.is_local, ""):
                return Block(storage, first, last, storage.read_range("", first, last - first))
        return None

    def read(
        self,
        row: Row,
        prefix: str = "",
        problem: str = "cannot be read",
        block: Block | None = None,
    ) -> bytes:
        """The bytes of a row's image, or with the prefix `label_` of its label.

        What lies in `block` is not fetched again.

        Raises:
            ImageError: they cannot be had, or are damaged; says `problem`.
            HostError: a web server gave no whole answer.
        """
        uri = self._address(row[f"{prefix}object"])
        storage, packing = Storage(uri), row[f"{prefix}packing"]
        with image_errors(storage.is_local, problem):
            if packing is None:
                return storage.read("")
            offset, length = row[f"{prefix}offset"], row[f"{prefix}length"]
            source = block if block is not None and block.storage == storage else storage
            return _member(source, offset, length, packing)

    def _address(self, shown: str) -> str:
        """The address behind what is shown of it: a list's secrets stay in the list."""
        if not (is_http(shown) and HIDDEN in shown):
            return shown
        address = _addresses(self.location, self.columns).get(shown)
        if address is None:
            raise ImageError(f"{shown} is no longer in {redacted(self.location)}")
        return address


def _range(offset: int, length: int, packing: str) -> tuple[int, int]:
    """Offset and length of the bytes that are read of a member first."""
    return (offset, length) if packing == TAR else zip_index.span(offset, length)


def _member(storage: Storage | Block, offset: int, length: int, packing: str) -> bytes:
    content = storage.read_range("", *_range(offset, length, packing))
    if packing == TAR:
        if len(content) < length:
            raise ImageError("its archive is cut off")
        return content
    if more := zip_index.missing(content, length):
        content += storage.read_range("", offset + len(content), more)
    return zip_index.unpacked(content, length, packing)


@remembered(2)
def _addresses(location: str, columns: ListColumns) -> AddressBook:
    """Addresses of lists that are not stored whole, as they may hold secrets."""
    try:
        return AddressBook(_with_queries(location, columns))
    except InputError as error:
        raise ImageError(f"its address cannot be looked up: {error}") from None


def _with_queries(location: str, columns: ListColumns) -> Iterator[str]:
    for each in objects_of(location)[0] if form_of(location) is Form.LIST else ():
        base = Base.of(each.uri)
        for row in uri_lists.rows_of(each.uri, columns):
            values = {} if isinstance(row, Flaw) else row.values
            for key in ("url", "label"):
                with suppress(ValueError):  # told when the list was indexed
                    address = base.absolute(values.get(key, ""))
                    if HIDDEN in redacted(address):
                        yield address
