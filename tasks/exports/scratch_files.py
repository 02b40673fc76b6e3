"""Large files of an export, made on a local disk item by item, so that memory does not grow."""

import io
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, TextIO

from tasks.storage.refusal_errors import write_errors


class TextFile(io.TextIOBase):
    """A file that grows at its end."""

    def __init__(self, path: Path, file: TextIO) -> None:
        """Write to an open file."""
        self.path, self.file = path, file
        self.items = 0

    def write(self, text: str, /) -> int:
        """Add text; returns how many characters.

        Raises:
            CapacityError: the disk is full.
        """
        with write_errors(str(self.path)):
            return self.file.write(text)

    def item(self, document: Any) -> None:
        """Add an item of a JSON array, with a comma before it if it is not the first."""
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
        self.write(f",\n{text}" if self.items else text)
        self.items += 1

    def append(self, other: "TextFile") -> None:
        """Add all that another file holds."""
        with other.finished().open(encoding="utf-8") as source, write_errors(str(self.path)):
            shutil.copyfileobj(source, self.file)

    def finished(self) -> Path:
        """The finished file."""
        with write_errors(str(self.path)):
            self.file.close()
        return self.path


class Scratch:
    """A temporary folder of such files; it vanishes at the end of its block."""

    def __enter__(self) -> "Scratch":
        """Make the folder."""
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(TemporaryDirectory(prefix="stego-export-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Remove it."""
        self.stack.close()

    def file(self, name: str) -> TextFile:
        """A new file, UTF-8, lines ending in a line feed."""
        path = self.folder / name
        file = path.open("w", encoding="utf-8", newline="\n")
        self.stack.callback(file.close)
        return TextFile(path, file)
