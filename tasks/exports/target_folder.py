"""The folder of an export: only an empty one or an earlier export is taken, never the workspace."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stego_core.errors import InputError
from tasks.storage.storage import READS_AT_ONCE, Storage
from tasks.storage.threads import ContextThreadPool

MANIFEST = "export.json"
"""Written last: an export that has it is whole."""
BEGUN = "export.begun.json"
"""Written first, removed last: says that files of an interrupted export are an export's."""


def claim(out: Storage, kind: str, names: Sequence[str], taken: Mapping[str, str]) -> None:
    """Make a place ready for an export: what an earlier one left there is removed.

    Args:
        out: the place.
        kind: the format that will be written.
        names: files and folders that it makes.
        taken: places that nothing may be written into, by what they are.

    Raises:
        InputError: the place holds anything else, or lies inside one that is taken.
    """
    for what, uri in taken.items():
        if _folder(out.uri).startswith(_folder(uri)):
            raise InputError(f"--out {out.uri} lies inside {what}, {uri}; give another place")
    found = [name for name in out.names("") if not name.startswith(".")]
    earlier = _earlier(out) if found else kind
    if earlier is None:
        raise InputError(
            f"--out {out.uri} is not empty (it holds {found[0]}) and no earlier export; give an "
            "empty or a new place"
        )
    if earlier != kind:
        raise InputError(
            f"--out {out.uri} holds an export of the format {earlier}; give another place for "
            f"{kind}"
        )
    foreign = [name for name in found if name not in {*names, MANIFEST, BEGUN}]
    if foreign:
        raise InputError(
            f"--out {out.uri} holds {foreign[0]} beside an earlier export, which would be written "
            "anew; move that away or give another place"
        )
    out.write(BEGUN, json.dumps({"format": kind}).encode())
    if found:
        _clear(out, names)


def finish(out: Storage) -> None:
    """Say that nothing is missing, once the manifest is there."""
    out.remove(BEGUN)


def _clear(out: Storage, names: Sequence[str]) -> None:
    """Remove an earlier export, first what says that it is whole."""
    out.remove(MANIFEST)
    paths = [file.path for file in out.files() if file.path.split("/")[0] in names]
    with ContextThreadPool(READS_AT_ONCE) as pool:
        list(pool.map(out.remove, sorted(paths, key=lambda path: (path.count("/"), path))))


def _earlier(out: Storage) -> str | None:
    """The format of the export that is or was being written there; None where there is none."""
    for name in (BEGUN, MANIFEST):
        try:
            document: Any = json.loads(out.read(name))
            return str(document["format"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
    return None


def below(out: Storage, other: Storage) -> bool:
    """Whether a place lies in another one and is not the same."""
    own, theirs = _folder(out.uri), _folder(other.uri)
    return own != theirs and own.startswith(theirs)


def _folder(uri: str) -> str:
    return uri.rstrip("/").replace("s3a://", "s3://", 1) + "/"
