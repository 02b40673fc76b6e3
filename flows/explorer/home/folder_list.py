"""Folders of this machine, for people who point at one instead of typing its path."""

import os
from pathlib import Path
from typing import Any

from stego_core.errors import InputError
from tasks.files.left_out import is_clip, is_image

MOST_FOLDERS = 500
"""Folders that are listed of one folder."""
MOST_ENTRIES = 20_000
"""Entries of a folder that are looked at: enough for people, and never a long wait."""


def listing(typed: str) -> dict[str, Any]:
    """What a folder holds.

    Args:
        typed: its path; the user's own folder where it is empty.

    Returns:
        `path`, `parent` (None at the top), `folders`: names, sorted; `images`: files directly in
        it that end as images or videos do; `more`: whether it holds more than was looked at.

    Raises:
        InputError: it is no folder, or may not be read.
    """
    path = Path(typed.strip() or "~").expanduser().resolve()
    folders, images, seen = [], 0, 0
    try:
        with os.scandir(path) as entries:
            for seen, entry in enumerate(entries, start=1):
                if seen > MOST_ENTRIES:
                    break
                if entry.is_dir():
                    folders += [entry.name] if not entry.name.startswith(".") else []
                else:
                    images += is_image(entry.name) or is_clip(entry.name)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}; choose another") from None
    return {
        "path": str(path),
        "parent": None if path.parent == path else str(path.parent),
        "folders": sorted(folders, key=str.casefold)[:MOST_FOLDERS],
        "images": images,
        "more": seen > MOST_ENTRIES or len(folders) > MOST_FOLDERS,
    }
