"""Archives and lists of a finished dump that changed since, and what came to them later."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from stego_core.errors import ImageError, InputError, OutageError
from tasks.files.image_names import MARK
from tasks.sources import forms
from tasks.sources.forms import Form, Object, form_of
from tasks.sources.member_rows import local_facts, rows_of_list
from tasks.sources.members import Flaw
from tasks.sources.reading import MemberReader
from tasks.storage.redaction import redacted
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder

Row = dict[str, Any]
PLACE = ("path", "image_id", "version", "object", "label_object", "label_version")
"""Columns of the listing that tell what may have changed."""


def changed_members(folder: Folder, manifest: Mapping[str, Any]) -> list[str]:
    """Paths of images of a finished dump whose bytes, label or id are others now.

    Files and archives whose mark differs are read again; of addresses that no mark is known of,
    each image is checked when it is read. What is gone or out of reach changes nothing.
    """
    reader = MemberReader.of(manifest["members"])
    location = manifest["members"]["location"]
    if reader is None or form_of(manifest["images_uri"]) is Form.AGAIN:
        return []
    objects = {each.uri: each for each in _objects_now(location)}
    if form_of(location) is Form.LIST:
        altered = list(_altered_rows(folder, manifest, objects))
        return altered + _changed(folder, reader, _changed_files(folder))
    indexed = {uri: version for uri, _, version in manifest["members"]["objects"]}
    changed = {uri for uri in objects.keys() & indexed if objects[uri].version != indexed[uri]}
    return _changed(folder, reader, changed) if changed else []


def later_members(folder: Folder, manifest: Mapping[str, Any]) -> list[str]:
    """Archives that match the pattern, or images of the lists, that are not in the dump."""
    location = manifest["members"]["location"]
    if form_of(manifest["images_uri"]) is Form.AGAIN:
        return []
    known = {uri for uri, _, _ in manifest["members"]["objects"]}
    objects = _objects_now(location)
    if form_of(location) is not Form.LIST:
        return [redacted(each.uri) for each in objects if each.uri not in known]
    frozen = set(_column(folder, "object"))
    rows = _rows_now(manifest, {each.uri: each for each in objects})
    return [row["path"] for row in rows if row["object"] not in frozen]


def _objects_now(location: str) -> list[Object]:
    try:
        return forms.objects_of(location)[0]
    except (InputError, OutageError):
        return []


def _rows_now(manifest: Mapping[str, Any], objects: Mapping[str, Object]) -> Iterator[Row]:
    """Rows of the lists that are other files than those that were indexed."""
    members = manifest["members"]
    indexed = {uri: [size, version] for uri, size, version in members["objects"]}
    reader = MemberReader.of(members)
    for uri, each in objects.items():
        if reader is None or indexed.get(uri) == [each.bytes, each.version]:
            continue
        for row in rows_of_list(uri, reader.columns, manifest.get("split")):
            if not isinstance(row, Flaw):
                yield row


def _altered_rows(
    folder: Folder, manifest: Mapping[str, Any], objects: Mapping[str, Object]
) -> Iterator[str]:
    """Images that a list has with another id or label now."""
    rows = list(_rows_now(manifest, objects))
    if not rows:
        return
    table = tables.read_columns(folder.storage, f"{folder.path}/{layout.LISTING_FILE}", PLACE)
    places = zip(table["object"], table["image_id"], table["label_object"], strict=True)
    frozen = {place: (image_id, label) for place, image_id, label in places}
    for row in rows:
        image_id, label = frozen.pop(row["object"], (None, None))  # the first line counts
        if image_id is None:
            continue
        renamed = MARK not in image_id and image_id != row["short"]
        if renamed or label != row["label_object"]:
            yield row["path"]


def _column(folder: Folder, name: str) -> list[Any]:
    path = f"{folder.path}/{layout.LISTING_FILE}"
    return list(tables.read_columns(folder.storage, path, [name])[name])


def _changed_files(folder: Folder) -> set[str]:
    """Files of this machine, of images or labels in lists, that have another mark now."""
    table = tables.read_columns(folder.storage, f"{folder.path}/{layout.LISTING_FILE}", PLACE)
    changed = set()
    for prefix in ("", "label_"):
        pairs = zip(table[f"{prefix}object"], table[f"{prefix}version"], strict=True)
        for uri, version in pairs:
            if version and (now := local_facts(uri)[1]) and now != version:
                changed.add(uri)
    return changed


def _changed(folder: Folder, reader: MemberReader, objects: set[str]) -> list[str]:
    """Indexed images in these files or archives whose bytes, or whose label's, differ."""
    path, changed = f"{folder.path}/{layout.INDEX_FILE}", []
    columns = tables.read_columns(folder.storage, path, ["object", "label_object"])
    suspects = [
        row
        for row, places in enumerate(zip(*columns.values(), strict=True))
        if objects & set(places)
    ]
    for row in tables.read_rows(folder.storage, path, np.array(suspects, np.int64)):
        for prefix in ("", "label_"):
            digest = row[f"{prefix}digest"]
            if row[f"{prefix}object"] in objects and digest and _differs(reader, row, prefix):
                changed.append(row["path"] if not prefix else row["label"])
    return changed


def _differs(reader: MemberReader, row: Row, prefix: str) -> bool:
    try:
        return keys.digest(reader.read(row, prefix)) != str(row[f"{prefix}digest"])
    except OutageError:
        return False
    except ImageError:  # a file is gone; in an archive that is there, something else lies there now
        return row[f"{prefix}packing"] is not None
