"""Which keys of a workspace are in use: those of the last run, and all that they are made from.

A key is the name of one folder or of none, and nothing else looks like one. So whatever in
`current.json` looks like a key is in use, and so is whatever looks like one among the inputs of a
manifest in use: an entry that a later version adds is never taken for nothing.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from stego_core.errors import DamageError, WorkspaceError
from tasks.storage.storage import READS_AT_ONCE, Storage
from tasks.storage.threads import ContextThreadPool
from tasks.upkeep.units import Unit
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

TOKEN = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?:[0-9a-f]{16})?(?![0-9a-f])")
"""A key within other text, such as a path."""
INPUTS = ("inputs", "backbone", "start", "head")
"""Entries of a manifest, or of a plan, that say what it is made from."""

READ_BY_DRIFT = ("features", "masks")
"""Inputs of a drift that are keys; the moments of training images have the first alone."""


def used_keys(workspace: Workspace, units: Sequence[Unit], young: Collection[str]) -> set[str]:
    """Keys of the last run and keys `young`, with all that they are made from.

    Raises:
        WorkspaceError: nothing says what is in use: there was no run yet.
        DamageError: a manifest in use is damaged, so what it is made from is unknown.
    """
    used = {*_tokens(workspace.last_run()), *young}
    with suppress(WorkspaceError):  # an imported head has no features
        from tasks.patch_index.patch_rows import PatchRows  # takes Zarr, which most commands do not

        used.add(PatchRows.trained(workspace).path.rpartition("/")[2])
    seen = set[str]()
    while now := [unit for unit in units if unit.key in used and unit.path not in seen]:
        seen.update(unit.path for unit in now)
        for unit in now:
            used.update(_made_from(workspace.storage, unit, unit.key in young))
    return used | _derived(workspace.storage, units, used)


def _tokens(document: Any) -> set[str]:
    return set(TOKEN.findall(json.dumps(document)))


def _made_from(storage: Storage, unit: Unit, suffices: bool) -> set[str]:
    """Keys among the inputs of every manifest and plan of a unit.

    A DamageError where one is damaged, unless those that can be read suffice.
    """
    found = set[str]()
    try:
        for document in documents(storage, unit.path):
            found |= _tokens([document.get(name) for name in INPUTS])
    except DamageError as error:
        if not suffices:
            raise DamageError(
                f"{unit.path} is in use, but what it is made from is unknown, so nothing can be "
                f"removed: {error}; `stego doctor` says more"
            ) from None
    return found


def documents(storage: Storage, path: str) -> Iterator[dict[str, Any]]:
    """The manifests and plans of a key's folder and of the folders in it, some read at a time.

    A DamageError where one is damaged.
    """
    folders = [path, *(f"{path}/{name}" for name in storage.folders(path))]
    files = [f"{folder}/{name}" for folder in folders for name in (layout.MANIFEST, layout.PLAN)]
    with ContextThreadPool(READS_AT_ONCE) as pool:
        for first in range(0, len(files), 256):
            read = pool.map(storage.document, files[first : first + 256])
            yield from (document for document in read if document is not None)


def _derived(storage: Storage, units: Sequence[Unit], used: set[str]) -> set[str]:
    """Keys of drift between features and masks in use: small, and `current.json` has none."""
    found = set[str]()
    for unit in units:
        if unit.top != layout.DRIFT or unit.key in used:
            continue
        with suppress(DamageError):
            inputs = [each.get("inputs", {}) for each in documents(storage, unit.path)]
            names = [each[name] for each in inputs for name in READ_BY_DRIFT if name in each]
            if names and used.issuperset(names):
                found.add(unit.key)
    return found
