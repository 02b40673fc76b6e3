"""The file of the catalog: entries of dumps as JSON, a line each; a cache that may be missing."""

import json
from typing import Any

from stego_core.errors import DamageError
from tasks.log import Log
from tasks.storage.storage import Storage
from tasks.workspace import kept_documents, layout, lease
from tasks.workspace.dump_entry import STAGES, ZARR_STAGES, DumpEntry, path_of
from tasks.workspace.keys import canonical

log = Log(__name__)
FORMAT = 1
"""Raised whenever an entry of the same manifests is another one."""
Entries = dict[str, DumpEntry]


def load(storage: Storage) -> Entries | None:
    """The entries by dump; None where there is no catalog, or none that this version can read."""
    try:
        stored = kept_documents.document(storage, layout.CATALOG_FILE)
        if stored is None or stored.get("format") != FORMAT:
            return None
        entries = {name: DumpEntry(**entry) for name, entry in stored["dumps"].items()}
        for name, entry in entries.items():
            sequence(entry.corpus, name)
        return entries
    except (DamageError, LookupError, TypeError, ValueError, AttributeError) as error:
        log.warning("the catalog of dumps is damaged, manifests are read", cause=error)
        return None


def encode(entries: Entries) -> bytes:
    """The file's content: the same for the same entries."""
    lines = (f"{json.dumps(name)}:{_line(entries[name])}" for name in sorted(entries))
    return b'{"format":%d,"dumps":{\n%s\n}}\n' % (FORMAT, ",\n".join(lines).encode())


def _line(entry: DumpEntry) -> str:
    return canonical(entry.document()).decode()


def store(storage: Storage, entries: Entries) -> None:
    """Write the file; a WorkspaceError if another run took the workspace over since."""
    lease.check(storage)
    kept_documents.write(storage, layout.CATALOG_FILE, encode(entries))


def forget(storage: Storage, path: str) -> None:
    """Drop the entry of a dump one of whose folders is begun anew, before anything is written.

    Somebody removed the folder. Until it is finished, nothing must say that it is.
    """
    stage, _, rest = path.partition("/")
    key, _, name = rest.rpartition("/")
    if stage == layout.CORPUS and not key:
        _drop(storage, name, None, None)
    elif stage in STAGES:
        dump = name.removesuffix(layout.zarr("")) if stage in ZARR_STAGES else name
        if path == path_of(stage, key, dump):
            _drop(storage, dump, stage, key)


def _drop(storage: Storage, dump: str, stage: str | None, key: str | None) -> None:
    entries = load(storage)
    entry = (entries or {}).get(dump)
    if entries is not None and entry is not None and (stage is None or entry.key(stage) == key):
        del entries[dump]
        store(storage, entries)


def sequence(stored: dict[str, Any], name: str) -> tuple[int, str]:
    """The place of a dump in the order of arrival, from its corpus manifest or entry."""
    return int(stored["sequence"]), name
