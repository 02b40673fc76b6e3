"""Parts of a remote file."""

import io
from typing import Any


class Ranges(io.RawIOBase):
    """A remote file by ranges: each read is one request, tried again like every other."""

    def __init__(self, filesystem: Any, path: str) -> None:
        """A file's bytes, its size asked for once."""
        self.filesystem, self.path, self.place = filesystem, path, 0
        self.size = int(filesystem.size(path))

    def readable(self) -> bool:
        """As of any file."""
        return True

    def seekable(self) -> bool:
        """As of any file."""
        return True

    def tell(self) -> int:
        """As of any file."""
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = start + offset
        return self.place

    def readinto(self, buffer: Any) -> int:
        """Fetch what fits the buffer."""
        end = min(self.place + len(buffer), self.size)
        if end <= self.place:
            return 0
        content = self.filesystem.cat_file(self.path, start=self.place, end=end)
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)
