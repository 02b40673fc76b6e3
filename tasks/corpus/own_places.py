"""Folders of a workspace that a dump was indexed from, by its whole place: it may be copied since.

Squares of a published data set (`stego benchmark`) are the only ones.
"""

import re
from collections.abc import Mapping
from typing import Any

from tasks.workspace import layout
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

PLACES = ("images_uri", "images_root", "labels_uri", "labels_root")
"""Entries of a manifest that say where files lie."""


def with_places_now(workspace: Workspace, dump: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """A dump's manifest with the places that its squares have in the workspace as it lies now."""
    inner = {name: _inner(dump, manifest.get(name)) for name in PLACES}
    if not any(inner.values()) or not workspace.folder(layout.PREPARED, dump).finished:
        return manifest
    now = {name: workspace.storage.full(path) for name, path in inner.items() if path}
    return {**manifest, **now}


def with_places_then(folder: Folder, dump: str, pins: Mapping[str, Any]) -> dict[str, Any]:
    """What a dump is made from, its squares named as they were when its folder was begun."""
    moved = {
        name: old
        for name, (old, new) in folder.differing(pins).items()
        if name in PLACES and _inner(dump, new) and _inner(dump, old) == _inner(dump, new)
    }
    return {**pins, **moved}


def _inner(dump: str, uri: Any) -> str | None:
    """The part of a place that lies in the workspace; None of another place."""
    pattern = rf".*/({layout.PREPARED}/{re.escape(dump)}/(?:images|labels))"
    match = re.fullmatch(pattern, uri, re.DOTALL) if isinstance(uri, str) else None
    return match and match[1]
