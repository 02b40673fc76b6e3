"""The bytes of an image of an archive or a list, from the row that says where they lie."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from stego_core.errors import ImageError, InputError
from tasks.sources import uri_lists, zip_index
from tasks.sources.address_book import AddressBook
from tasks.sources.addresses import Base
from tasks.sources.forms import Form, Object, form_of, objects_of
from tasks.sources.members import TAR, Flaw
from tasks.sources.uri_lists import ListColumns
from tasks.storage.redaction import HIDDEN, is_http, redacted
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage


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

    def read(
        self, row: Mapping[str, Any], prefix: str = "", problem: str = "cannot be read"
    ) -> bytes:
        """The bytes of a row's image, or with the prefix `label_` of its label.

        Raises:
            ImageError: they cannot be had, or are damaged; says `problem`.
            HostError: a web server gave no whole answer.
        """
        uri = self._address(row[f"{prefix}object"])
        storage, packing = Storage(uri), row[f"{prefix}packing"]
        with image_errors(storage.is_local, problem):
            if packing is None:
                return storage.read("")
            return _member(storage, row[f"{prefix}offset"], row[f"{prefix}length"], packing)

    def _address(self, shown: str) -> str:
        """The address behind what is shown of it: a list's secrets stay in the list."""
        if not (is_http(shown) and HIDDEN in shown):
            return shown
        address = _addresses(self.location, self.columns).get(shown)
        if address is None:
            raise ImageError(f"{shown} is no longer in {redacted(self.location)}")
        return address


def _member(storage: Storage, offset: int, length: int, packing: str) -> bytes:
    if packing == TAR:
        content = storage.read_range("", offset, length)
        if len(content) < length:
            raise ImageError("its archive is cut off")
        return content
    content = storage.read_range("", *zip_index.span(offset, length))
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
