"""Bytes under a URI: a local folder or an object store; other modules need not know which."""

import errno
import json
import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec

from stego_core.errors import DamageError, InputError, StegoError, WorkspaceError
from tasks.storage import fsspec_packages, s3
from tasks.storage.local_files import sync, walked, write_local
from tasks.storage.redaction import has_secret, is_http
from tasks.storage.refusal_errors import has_own_errors, read_errors, write_errors
from tasks.storage.spool import Spool
from tasks.storage.threads import ContextThreadPool

SIGNATURE = re.compile(r"[?&](sig|signature|x-amz-signature|token)=", re.IGNORECASE)
"""A query by which a URI gives access to whoever has it."""
PASSWORD = re.compile(r"://[^/@:]*:(?!\d+(?:/|$))[^@]*@")
"""A user and a password before a host; a secret may contain slashes, a port is no secret."""
READS_AT_ONCE = 16  # files that are fetched at the same time
UPLOAD_BYTES = 16 * 2**20  # bytes of a large file that are in memory at once on its way to S3
RANGE_BYTES = 2**20  # bytes that are fetched at least, where a part of a file is read


class File(NamedTuple):
    """A file of a listing."""

    path: str  # relative
    bytes: int  # its size
    version: str  # ETag or time of change; where it differs, the content may have changed
    modified: float  # time of its last change, seconds since 1970; 0 where the store does not say


@dataclass(frozen=True)
class Storage:
    """A folder of files under one URI, read and written whole."""

    uri: str  # absolute path or fsspec URI of the folder

    @classmethod
    def at(cls, location: str) -> "Storage":
        """Storage at a path or URI as a user gives it; relative paths become absolute.

        Raises:
            InputError: it names no place, or carries a password, which manifests would show.
        """
        if PASSWORD.search(location):
            raise InputError(
                f"the {location.split('://')[0]} URI holds a password; {s3.CREDENTIALS}"
            )
        if SIGNATURE.search(location) or has_secret(location):
            raise InputError(
                f"{location.split('?')[0]} is given with a signature; {s3.CREDENTIALS}"
            )
        if re.fullmatch(r"\s*|[^/]+:///*", location):
            raise InputError(
                f"{location!r} names no place; expected a folder, or a URI such as s3://bucket/name"
            )
        if location.startswith(("file://", "local://")):
            return cls.at(location.split("://", 1)[1])
        if "://" not in location:
            return cls(str(Path(location).expanduser().resolve()))
        return cls(location.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on a local disk."""
        return "://" not in self.uri

    def full(self, path: str) -> str:
        """Full path or URI of a relative path; a WorkspaceError if it would leave the folder."""
        if path.startswith("/") or ".." in path.split("/"):
            raise WorkspaceError(f"path {path!r} leaves {self.uri}; expected one inside it")
        return posixpath.join(self.uri, path) if path else self.uri

    def read(self, path: str) -> bytes:
        """All bytes of a file; a FileNotFoundError if there is none."""
        return self._read(path)

    def _read(self, path: str, **span: int) -> bytes:
        options = fsspec_packages.reading_options(self.uri)
        try:
            return bytes(_filesystem(self.uri).cat_file(self.full(path), **span, **options))
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, "no such file", self.full(path)) from None
        except s3.AccessError as error:
            raise WorkspaceError(f"{self.uri} cannot be read: {error}") from None
        except Exception as error:
            if not has_own_errors(self.uri):
                raise
            raise fsspec_packages.reading_error(error, self.full(path)) from None

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """So many bytes of a file from an offset on, fewer at its end; raises as `read`."""
        if self.is_local:
            with open(self.full(path), "rb") as file:
                file.seek(offset)
                return file.read(length)
        return self._read(path, start=offset, end=offset + length)

    def read_many(self, paths: Sequence[str]) -> list[bytes | None]:
        """`read_or_none` of several files, at the same time."""
        with ContextThreadPool(READS_AT_ONCE) as pool:
            return list(pool.map(self.read_or_none, paths))

    def read_or_none(self, path: str) -> bytes | None:
        """As `read`; None where there is no such file."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def document(self, path: str) -> dict[str, Any] | None:
        """The JSON object in a file of a workspace; None where there is no such file.

        Raises:
            WorkspaceError: it cannot be read.
            DamageError: it holds something else.
        """
        with read_errors(self.uri):
            content = self.read_or_none(path)
        try:
            return None if content is None else dict(json.loads(content))
        except (ValueError, TypeError):
            raise DamageError(
                f"{self.full(path)} is damaged: it is not a JSON object; remove it and run again"
            ) from None

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; a reader sees the old file or the new one, never a part.

        Raises:
            CapacityError: the disk is full.
            WorkspaceError: the place cannot be written.
        """
        with write_errors(self.uri):
            if self.is_local:
                write_local(self.full(path), lambda target: target.write(content))
            else:
                _filesystem(self.uri).pipe_file(self.full(path), content)

    def upload(self, path: str, file: Path) -> None:
        """Write a local file's content, of any size, as `write` does: whole or not at all."""
        with write_errors(self.uri):
            if self.is_local:
                with file.open("rb") as source:
                    write_local(self.full(path), lambda target: shutil.copyfileobj(source, target))
                return
            parts = {"chunksize": UPLOAD_BYTES, "max_concurrency": 1} if s3.is_s3(self.uri) else {}
            _filesystem(self.uri).put_file(str(file), self.full(path), **parts)

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        with write_errors(self.uri), suppress(FileNotFoundError):
            _filesystem(self.uri).rm_file(self.full(path))

    def flush(self, path: str) -> None:
        """Flush a file that another library wrote to the disk, before a record proves it."""
        if self.is_local:
            with open(self.full(path), "rb") as file:
                os.fsync(file.fileno())
            sync(posixpath.dirname(self.full(path)))

    def signed(self, path: str, seconds: int, kind: str) -> str | None:
        """An address at which whoever has it may read a file for so many seconds.

        The service announces the media type `kind`. None where there are no such addresses.
        """
        if self.is_local:
            return None
        options = {"ResponseContentType": kind} if s3.is_s3(self.uri) else {}
        try:
            return str(_filesystem(self.uri).sign(self.full(path), expiration=seconds, **options))
        except (NotImplementedError, AttributeError, ValueError, OSError):
            return None  # the protocol has no such addresses, or there are no credentials

    def exists(self, path: str) -> bool:
        """Whether the file or folder is there now; nothing is cached."""
        filesystem = _filesystem(self.uri)
        filesystem.invalidate_cache()
        with read_errors(self.uri):
            return bool(filesystem.exists(self.full(path)))

    def names(self, path: str) -> list[str]:
        """Sorted names directly inside a folder; none if there is no such folder."""
        return sorted(_basename(name) for name in self._listed(path, detail=False))

    def folders(self, path: str) -> list[str]:
        """Sorted names of the folders directly inside a folder; none if there is no such folder."""
        entries = self._listed(path, detail=True)
        return sorted(_basename(entry["name"]) for entry in entries if entry["type"] == "directory")

    def _listed(self, path: str, detail: bool) -> list[Any]:
        filesystem = _filesystem(self.uri)
        filesystem.invalidate_cache()
        with read_errors(self.uri), suppress(FileNotFoundError, NotADirectoryError):
            return list(filesystem.ls(self.full(path), detail=detail))
        return []

    def files(self) -> list[File]:
        """Every file below, as a list; raises as `each_file`."""
        return list(self.each_file())

    def each_file(self) -> Iterator[File]:
        """Every file below, sorted by path; a single file is its own folder, with path ".".

        Of a local folder or a bucket, a part at a time: memory does not grow with the files.

        Raises:
            InputError: there is no such folder or file, or it cannot be listed.
        """
        filesystem = _filesystem(self.uri)
        filesystem.invalidate_cache()
        try:
            root = str(fsspec.core.strip_protocol(self.uri))
            empty = True
            for file in _each_file(filesystem, root, self.uri):
                empty = False
                yield file
            absent = empty and not filesystem.exists(root)
        except Exception as error:
            known = isinstance(error, OSError | ValueError | NotImplementedError)
            if isinstance(error, StegoError) or not (known or has_own_errors(self.uri)):
                raise
            reason = fsspec_packages.reason(error, self.uri)
            raise InputError(f"{self.uri} cannot be listed: {reason}") from None
        if absent:
            raise InputError(f"{self.uri} does not exist; give an existing folder or URI")

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """A seekable file for reading parts of; a FileNotFoundError if there is none."""
        if self.is_local:
            with open(self.full(path), "rb") as file:
                yield file
        else:
            with read_errors(self.uri):
                remote = _filesystem(self.uri).open(
                    self.full(path), "rb", block_size=RANGE_BYTES, cache_type="readahead"
                )
            with remote:
                told = fsspec_packages.ToldFile(remote, self.full(path))
                yield cast(BinaryIO, told) if has_own_errors(self.uri) else remote


def _each_file(filesystem: Any, root: str, uri: str) -> Iterator[File]:
    """Files below a folder, sorted by path; those of S3 arrive in pages."""
    if "://" not in uri and filesystem.isdir(root):
        start = len(root.rstrip("/")) + 1
        for info in walked(root):
            yield _file(str(info["name"])[start:], info)
        return
    if s3.is_s3(uri):
        infos = filesystem.each_object(root)
    else:
        infos = fsspec_packages.infos(filesystem, root)
    files = (
        _file(_relative(str(info["name"]), root), info)
        for info in infos
        if info.get("type") != "directory" and not str(info["name"]).endswith("/")
    )
    with Spool() as spool:
        yield from spool.sorted(files, File._make)


def _basename(name: Any) -> str:
    return posixpath.basename(str(name).rstrip("/"))


def _relative(name: str, root: str) -> str:
    """A file's path below the root, as it is stored: keys of objects may hold `//` and `..`."""
    start = root.rstrip("/") + "/"
    return name.removeprefix(start) if name.startswith(start) else posixpath.relpath(name, root)


def _file(path: str, info: dict[str, Any]) -> File:
    size = int(info.get("size") or 0)
    return File(path, size, fsspec_packages.version(info), fsspec_packages.changed(info))


def _filesystem(uri: str) -> Any:
    if s3.is_s3(uri):
        from tasks.storage import s3_client  # s3fs and botocore take a second to import

        return s3_client.filesystem(s3.current_service())
    if is_http(uri):
        from tasks.storage import http_files

        return http_files.filesystem()
    return fsspec_packages.filesystem_of("/".join(uri.split("/")[:3]) if "://" in uri else "/")
