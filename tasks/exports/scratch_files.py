"""Large files of an export, made on a local disk item by item, so that memory does not grow."""

import json
import shutil
from pathlib import Path
from typing import Any

from tasks.storage.refusal_errors import write_errors


class TextFile:
    """A text file that grows at its end: UTF-8, lines ending in a line feed."""

    def __init__(self, path: Path, head: str = "", tail: str = "") -> None:
        """Make the file, which begins with `head` and ends with `tail` once it is finished."""
        self.path, self.tail = path, tail
        self.items = 0
        self.file = path.open("w", encoding="utf-8", newline="\n")
        self.write(head)

    def write(self, text: str) -> int:
        """Add text, or raise a CapacityError where the disk is full; returns its length."""
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
        """End and close the file; returns where it lies."""
        with write_errors(str(self.path)):
            self.file.write(self.tail)
            self.file.close()
        return self.path
