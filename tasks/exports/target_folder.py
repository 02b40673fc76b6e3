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


def prepare(out: Storage, kind: str, names: Sequence[str], reserved: Mapping[str, str]) -> None:
    """Check that an export may be written to a folder, and remove an earlier one that is there.

    Args:
        out, kind: the folder, and the format that will be written.
        names: files and folders that it makes.
        reserved: URIs of folders that nothing may be written into, by what they are.

    Raises:
        InputError: the folder holds anything else, or lies inside a reserved one.
    """
    for what, uri in reserved.items():
        if _with_slash(out.uri).startswith(_with_slash(uri)):
            raise InputError(f"--out {out.uri} lies inside {what}, {uri}; give another place")
    present = [name for name in out.names("") if not name.startswith(".")]
    earlier = _earlier_format(out) if present else kind
    if earlier is None:
        raise InputError(
            f"--out {out.uri} is not empty (it holds {present[0]}) and no earlier export; give an "
            "empty or a new place"
        )
    if earlier != kind:
        raise InputError(
            f"--out {out.uri} holds an export of the format {earlier}; give another place for "
            f"{kind}"
        )
    foreign = [name for name in present if name not in {*names, MANIFEST, BEGUN}]
    if foreign:
        raise InputError(
            f"--out {out.uri} holds {foreign[0]} beside an earlier export, which would be written "
            "anew; move that away or give another place"
        )
    out.write(BEGUN, json.dumps({"format": kind}).encode())
    if present:
        _remove_export(out, names)


def _remove_export(out: Storage, names: Sequence[str]) -> None:
    """Remove an earlier export: first its manifest, so that it no longer counts as whole."""
    out.remove(MANIFEST)
    paths = [file.path for file in out.files() if file.path.split("/")[0] in names]
    with ContextThreadPool(READS_AT_ONCE) as pool:
        list(pool.map(out.remove, sorted(paths, key=lambda path: (path.count("/"), path))))


def _earlier_format(out: Storage) -> str | None:
    """The format of the export that a folder holds, whole or begun; None where there is none."""
    for name in (BEGUN, MANIFEST):
        try:
            document: Any = json.loads(out.read(name))
            return str(document["format"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
    return None


def below(out: Storage, other: Storage) -> bool:
    """Whether a folder lies in another one and is not the same."""
    folder, parent = _with_slash(out.uri), _with_slash(other.uri)
    return folder != parent and folder.startswith(parent)


def _with_slash(uri: str) -> str:
    return uri.rstrip("/").replace("s3a://", "s3://", 1) + "/"
