"""A folder below another one, by a name that comes from elsewhere and may be meant to lead out."""

import os
import re
import unicodedata
from pathlib import Path

from stego_core.errors import InputError, OptionError
from tasks.storage.storage import Storage

PART = re.compile(r"\w(?:[\w .+-]*[\w+-])?")
"""A folder's name: no separators, drives, wildcards or control characters; no dot at either end."""
LONGEST_PART, MOST_PARTS = 100, 4
"""Bytes of a folder's name, and folders below each other."""
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that are no files on Windows."""
EXPECTED = (
    f"expected up to {MOST_PARTS} names with '/' between them, each of letters, digits, spaces and "
    f"'-', '_', '.', '+', at most {LONGEST_PART} bytes long, beginning with a letter or digit"
)


def inside(root: Storage, name: str) -> Storage:
    """The folder of that name below `root`; it need not exist.

    On a local disk no link may lead out of it, or of `root`, at the time of asking.

    Args:
        root: absolute, with links resolved.
        name: relative, with '/' between its parts.

    Raises:
        OptionError: the name is none.
        InputError: a link is in the way, or something that is neither file nor folder.
    """
    found = Storage(root.full(relative(name)))
    if root.is_local:
        _check_links(Path(root.uri), Path(found.uri))
    return found


def relative(name: str) -> str:
    """The name with its letters composed (NFC).

    Raises:
        OptionError: it is not a relative name of plain folders.
    """
    composed = unicodedata.normalize("NFC", name)
    parts = composed.split("/")
    if len(parts) > MOST_PARTS or not all(map(_is_plain, parts)):
        raise OptionError(f"the name {name[:100]!r} cannot be a folder's; {EXPECTED}")
    return composed


def _is_plain(part: str) -> bool:
    short = len(part.encode(errors="replace")) <= LONGEST_PART
    return short and PART.fullmatch(part) is not None and DEVICES.fullmatch(part) is None


def _check_links(root: Path, folder: Path) -> None:
    """See that neither the way to a folder nor anything in it leads elsewhere.

    Raises:
        InputError: something does.
    """
    if _resolved(root) != root:
        raise InputError(f"{root} is a link, or lies behind one; give the place that it leads to")
    if _resolved(folder) != folder:
        raise InputError(f"{folder} lies behind a link; give another name, or remove the link")
    for path in (folder, *_below(folder)):
        if path.is_symlink() or not (path.is_dir() or path.is_file() or not path.exists()):
            raise InputError(f"{path} is neither a folder nor a file of its own; give another name")


def _resolved(path: Path) -> Path | None:
    """Where a path leads; None where links run in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


def _below(folder: Path) -> list[Path]:
    return [
        Path(parent, name)
        for parent, folders, names in os.walk(folder)
        for name in (*folders, *names)
    ]
