"""Web servers as a file system whose only files are the addresses that are named."""

import atexit
import os
import tempfile
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from tasks.log import Log
from tasks.storage.http_client import Answer, HttpClient, RefusedError
from tasks.storage.redaction import redacted

log = Log(__name__)

MOST_BYTES = 2**30  # of a file that is read whole into memory
MOST_COPIED = 4 * 2**30  # of a file that is copied, as its server gives no ranges
COPIES = 4  # such files that a process keeps at the same time


class Part(NamedTuple):
    """A file, or a part of one."""

    content: bytes
    size: int  # of the whole file
    version: str  # the server's mark of the content; empty where it gives none


class Copy(NamedTuple):
    """A whole file that was copied to this machine's temporary folder."""

    file: BinaryIO
    size: int
    version: str

    def part(self, span: tuple[int, int]) -> Part:
        """A part of it."""
        content = os.pread(self.file.fileno(), span[1] - span[0], span[0])
        return Part(content, self.size, self.version)


class HttpFiles(AbstractFileSystem):  # type: ignore[misc]
    """Reads files of web servers; writes and lists none."""

    protocol = ("http", "https")
    cachable = False

    def __init__(self) -> None:
        """No request is sent yet."""
        super().__init__()
        self.client = HttpClient()
        self.copies: OrderedDict[str, Copy] = OrderedDict()
        self.copying = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and version of a file, by an answer with its first byte."""
        part = self.part(path, (0, 1))
        return {"name": path, "type": "file", "size": part.size, "ETag": part.version}

    def exists(self, path: str, **_: Any) -> bool:
        """Whether the server has the file."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The file itself: a web server has no list of its files."""
        return [self.info(path)] if detail else [path]

    def find(self, path: str, detail: bool = False, **_: Any) -> Any:
        """The file itself: a web server has no list of its files."""
        return {path: self.info(path)} if detail else [path]

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """A file, or its bytes from `start` to `end`."""
        if start is None or end is None:
            return self.whole(path)[start:end]
        return self.part(path, (start, end)).content

    def _open(self, path: str, mode: str = "rb", **options: Any) -> "HttpFile":
        return HttpFile(self, path, mode, **options)

    def whole(self, uri: str) -> bytes:
        """All bytes of a file; a RefusedError where it has more than MOST_BYTES."""

        def take(answer: Answer) -> bytes:
            return _joined(uri, answer, MOST_BYTES)

        return self.client.request(uri, None, take)

    def part(self, uri: str, span: tuple[int, int]) -> Part:
        """The bytes of a span; of a server that gives no ranges, from a copy of the whole file."""
        with self.copying:
            copy = self.copies.get(uri)
        if copy is not None:
            return copy.part(span)

        def take(answer: Answer) -> Part | None:
            if answer.ranged:
                content = _joined(uri, answer, span[1] - span[0])
                return Part(content, answer.size or 0, answer.version)
            return None

        ranged = self.client.request(uri, span, take)
        return ranged if ranged is not None else self._copied(uri).part(span)

    def close(self) -> None:
        """Close connections and copies, at the end of the process."""
        self.client.client.close()
        for copy in self.copies.values():
            copy.file.close()

    def _copied(self, uri: str) -> Copy:
        with self.copying:  # others that want the same file wait for it
            if uri not in self.copies:
                self.copies[uri] = self.client.request(uri, None, lambda a: _copy(uri, a))
                size = f"{self.copies[uri].size / 2**20:.1f} MiB"
                log.info("server gives no ranges, file copied whole", file=redacted(uri), size=size)
                while len(self.copies) > COPIES:
                    self.copies.popitem(last=False)  # the file goes with the last who reads it
            return self.copies[uri]


class HttpFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file of a web server, read block by block."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        content: bytes = self.fs.part(self.path, (start, min(end, self.size))).content
        return content


def _joined(uri: str, answer: Answer, most: int) -> bytes:
    content = bytearray()
    for piece in answer.pieces:
        content += piece
        _require_at_most(uri, len(content), most)
    return bytes(content)


def _copy(uri: str, answer: Answer) -> Copy:
    """A copy without a name: it is gone with the process."""
    _require_at_most(uri, answer.size or 0, MOST_COPIED)
    file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the copy
    size = 0
    for piece in answer.pieces:
        size += file.write(piece)
        _require_at_most(uri, size, MOST_COPIED)
    file.flush()
    return Copy(file, size, answer.version)


def _require_at_most(uri: str, size: int, most: int) -> None:
    if size > most:
        text = f"it has more than the {most:,} bytes that are taken from a web server at once"
        raise RefusedError(13, text, redacted(uri))


@lru_cache(1)
def filesystem() -> HttpFiles:
    """The one of this process; its connections are closed when that ends."""
    files = HttpFiles()
    atexit.register(files.close)
    return files
