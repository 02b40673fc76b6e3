"""Images that an export leaves out, each with its reason, however many they are."""

import json
from pathlib import Path
from typing import Any

from tasks.exports.scratch_files import TextFile

TOLD = 20
"""Kept in memory, for people; the export's manifest has all of them."""


class LeftOut:
    """The list, which grows on a local disk.

    Attributes:
        told: dump, path and reason of the first ones.
    """

    def __init__(self, file: TextFile) -> None:
        """Write to a file."""
        self.file = file
        self.told: list[dict[str, str]] = []

    def add(self, dump: str, path: str, reason: str) -> None:
        """Name one more image."""
        row = {"dump": dump, "path": path, "reason": reason}
        self.file.item(row)
        if len(self.told) < TOLD:
            self.told.append(row)

    @property
    def first(self) -> str:
        """The first one, as a sentence says it."""
        return "{dump}/{path}: {reason}".format(**self.told[0]) if self.told else "none was there"

    def behind(self, file: TextFile, manifest: dict[str, Any]) -> Path:
        """A JSON file of the manifest with the whole list as its last entry, `skipped`."""
        file.write(json.dumps(manifest, indent=1, ensure_ascii=False).removesuffix("\n}"))
        file.write(',\n "skipped": [\n')
        file.append(self.file)
        file.write("\n ]\n}\n")
        return file.finished()
