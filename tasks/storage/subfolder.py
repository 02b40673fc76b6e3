"""A folder below another one, by a name that comes from elsewhere and may be meant to lead out."""

import re
import unicodedata
from pathlib import Path

from stego_core.errors import InputError, OptionError
from tasks.storage.storage import Storage

PART = re.compile(r"\w(?:[\w .+-]*[\w+-])?")
"""A folder's name: no separators, drives, wildcards or control characters; no dot at either end."""
LONGEST_PART = 100  # bytes of a folder's name, at most
MOST_PARTS = 4  # folders below each other, at most
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that are no files on Windows."""


def inside(root: Storage, name: str) -> Storage:
    """The folder of that name, with '/' between its parts, below `root`; it need not exist.

    On a local disk no link may lead out of it, or of `root`, at the time of the call.

    Raises:
        OptionError: it is not a name of a folder.
        InputError: a link is in the way, or something that is neither file nor folder.
    """
    folder = Storage(root.full(relative(name)))
    if root.is_local:
        _check_links(Path(root.uri), Path(folder.uri))
    return folder


def relative(name: str) -> str:
    """The name with its letters composed (NFC); an OptionError unless all parts are plain."""
    composed = unicodedata.normalize("NFC", name)
    parts = composed.split("/")
    if len(parts) > MOST_PARTS or not all(map(_is_plain, parts)):
        raise OptionError(
            f"the name {name[:100]!r} cannot be a folder's; expected up to {MOST_PARTS} names with "
            "'/' between them, each of letters, digits, spaces and '-', '_', '.', '+', at most "
            f"{LONGEST_PART} bytes long, beginning with a letter or digit"
        )
    return composed


def _is_plain(part: str) -> bool:
    short = len(part.encode(errors="replace")) <= LONGEST_PART
    return short and PART.fullmatch(part) is not None and DEVICES.fullmatch(part) is None


def _check_links(root: Path, folder: Path) -> None:
    """Raise InputError where the path to a folder, or anything in it, leads elsewhere."""
    if _resolved(root) != root:
        raise InputError(f"{root} is a link, or lies behind one; give the place that it leads to")
    if _resolved(folder) != folder:
        raise InputError(f"{folder} lies behind a link; give another name, or remove the link")
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file() or not path.exists()):
            raise InputError(f"{path} is neither a folder nor a file of its own; give another name")


def _resolved(path: Path) -> Path | None:
    """The path with its links resolved; None where they run in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None
