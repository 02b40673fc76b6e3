"""Addresses of images as lists have them: made absolute, or refused with a reason."""

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from tasks.files.image_names import stem
from tasks.storage.redaction import HIDDEN, is_http, redacted
from tasks.storage.storage import PASSWORD

SCHEMES = {"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "file", "memory"}
"""Of addresses in lists: fsspec knows others, which run programs or open further addresses."""
OF_THIS_MACHINE = {"file", "memory"}


@dataclass(frozen=True)
class Base:
    """Where a list lies: relative addresses in it start there."""

    folder: str  # path or URI

    @classmethod
    def of(cls, uri: str) -> "Base":
        """The folder of a list."""
        return cls(uri.partition("?")[0].rpartition("/")[0] if is_http(uri) else _parent(uri))

    def absolute(self, address: str) -> str:
        """A path or URI that storage opens.

        Raises:
            ValueError: it is empty, of an unknown kind, holds a password, or a list from the web
                names a file of this machine.
        """
        if not address or "\0" in address or not address.isprintable():
            raise ValueError("it is empty, or holds characters that no address has")
        if PASSWORD.search(address):
            raise ValueError("it holds a password; give access by the service's own means")
        scheme = address.partition("://")[0].lower() if "://" in address else ""
        if "::" in address or (scheme and scheme not in SCHEMES):
            raise ValueError(f"addresses of the kind {scheme[:20]!r} are not read")
        of_web = is_http(self.folder)
        if of_web and (scheme in OF_THIS_MACHINE or address.startswith(("/", "~"))):
            raise ValueError("a list from a web server may not name files of this machine")
        if scheme == "file":
            return address.split("://", 1)[1]
        if scheme or address.startswith("/"):
            return address
        if of_web:
            return urljoin(f"{self.folder}/", address)
        start, path = (*self.folder.split("://", 1), "")[:2] if "://" in self.folder else ("", "")
        if start:
            return f"{start}://{posixpath.normpath(posixpath.join(path, address))}"
        return posixpath.normpath(posixpath.join(self.folder, address))


def _parent(uri: str) -> str:
    return uri.rpartition("/")[0] or "/"


def name_of(address: str) -> str:
    """A name for an image's id, from the address as a list has it.

    It depends on nothing else, in particular neither on the other rows nor on where the list lies.
    """
    shown = redacted(address)
    address, _, digest = shown.partition(HIDDEN)
    if "://" in address:
        parts = urlsplit(address)
        address = f"{parts.netloc}{parts.path}"
    parts_of = [part for part in re.split(r"[/\\]", address) if part not in ("", ".", "..")]
    name = "/".join(parts_of) or "image"
    if not digest:
        return name
    return f"{stem(name)}~{digest}{posixpath.splitext(name)[1]}"
