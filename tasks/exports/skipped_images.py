"""Images that an export leaves out, each with its reason, however many they are."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.exports.scratch_files import TextFile

IN_MEMORY = 20
"""Skipped images that are kept in memory, to print them; the export's manifest lists all."""


class SkippedImages:
    """The list, which grows on a local disk, and its first rows and counts by dump in memory."""

    def __init__(self, file: TextFile) -> None:
        """Write the list to a file."""
        self.file = file
        self.first: list[dict[str, str]] = []
        self.counts = Counter[str]()

    def add(self, dump: str, path: str, reason: str) -> None:
        """Add an image."""
        row = {"dump": dump, "path": path, "reason": reason}
        self.file.item(row)
        self.counts[dump] += 1
        if len(self.first) < IN_MEMORY:
            self.first.append(row)

    def example(self) -> str:
        """The first image with its reason, for a message."""
        return "{dump}/{path}: {reason}".format(**self.first[0]) if self.first else "none was there"

    def write_manifest(self, file: TextFile, manifest: dict[str, Any]) -> Path:
        """Write the manifest as JSON, with the whole list as its last entry, `skipped`."""
        file.write(json.dumps(manifest, indent=1, ensure_ascii=False).removesuffix("\n}"))
        file.write(',\n "skipped": [\n')
        file.append(self.file)
        file.write("\n ]\n}\n")
        return file.finished()
