"""Documents that the only writer of a workspace has read: nobody else changes them meanwhile.

`current.json`, the catalog and the manifests are asked for dozens of times in a run. Who holds the
lease reads each once; whoever does not, as a worker or the explorer, reads them anew every time.
"""

import json
from typing import Any

from tasks.storage.storage import Storage
from tasks.workspace import lease


def document(storage: Storage, path: str) -> dict[str, Any] | None:
    """As `Storage.document`; of whoever holds the lease, read once."""
    kept = lease.kept(storage)
    if kept is None:
        return storage.document(path)
    if (content := kept.get(path)) is not None:
        return dict(json.loads(content))  # each caller may change its own
    changes = kept.changes
    read = storage.document(path)
    if read is not None:
        kept.add(path, json.dumps(read).encode(), changes)
    return read


def write(storage: Storage, path: str, content: bytes) -> None:
    """Write a document; raises as `Storage.write`."""
    kept = lease.kept(storage)
    try:
        storage.write(path, content)
    finally:
        if kept is not None:
            kept.forget(path)
    if kept is not None:
        kept.add(path, content, kept.changes)


def forget(storage: Storage, path: str = "") -> None:
    """Read a document, or all below a folder, anew: what was there was removed."""
    kept = lease.kept(storage)
    if kept is not None:
        kept.forget(path)
