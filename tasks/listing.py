"""What lies in a folder of images: the list, the ids, the labels that belong, the taxonomy."""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from stego_core.errors import ImageError, InputError, OutageError
from stego_core.taxonomy import Taxonomy
from tasks import clips, images
from tasks.workspace import keys, tables
from tasks.workspace.storage import File, Storage
from tasks.workspace.workspace import Workspace

LISTING = "listing.parquet"
ESCAPED_NAME = "\\udc"
"""What `storable` leaves in a name for a byte that is not UTF-8."""
LISTING_COLUMNS = {
    "path": "string",
    "image_id": "string",
    "label": "string",
    "bytes": "int64",
    "version": "string",
    "label_version": "string",
}
CLIP_COLUMNS = {"clip": "string", "seconds": "double"}
"""Beside those, in dumps with videos: the clip of a frame and its moment; null of an image."""
CHECKED_AT_ONCE = 64
"""Files read together where their marks say that they may have changed."""
NAMED_FILES = 5


def read_file(storage: Storage, path: str) -> bytes:
    """A user's file.

    Raises:
        ImageError: it is not there or may not be read. What may be the network's weather is
            raised as it is, to be tried again rather than frozen into a dump.
    """
    if ESCAPED_NAME in path:
        raise ImageError("its file name is not UTF-8; rename it and give it as a new dump")
    try:
        return storage.read(path)
    except OSError as error:
        if not (storage.is_local or isinstance(error, FileNotFoundError | PermissionError)):
            raise
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def default_dump(images_uri: str) -> str:
    """The dump's name where none is given: the last part of where the images lie.

    Of a single video it is the file's name without the ending.
    """
    path = PurePosixPath(images_uri.rstrip("/"))
    name = path.stem if clips.is_clip(path.name) else path.name
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip(".-")
    return cleaned[:100] or "images"


def listed(
    source: Storage, labels: Storage | None, frames: dict[str, list[Any]] | None = None
) -> dict[str, list[Any]]:
    """Columns of the listing: every image file, its id, and its label where there is one.

    The id is the relative path without extension; images that differ in the extension only
    keep it, so that ids stay unique.

    Args:
        source: where the images lie.
        labels: where the labels lie.
        frames: columns of the frames of the videos among the images; they are listed as well,
            with the columns of CLIP_COLUMNS.

    Raises:
        InputError: no image is found.
    """
    _, present = clips.found(source)
    files = [file for file in present if is_image(file.path)]
    moments: dict[str, tuple[str, float]] = {}
    if frames is not None:
        sizes = zip(frames["path"], frames["bytes"], strict=True)
        files = sorted([*files, *(File(path, size, "", 0.0) for path, size in sizes)])
        cut = zip(frames["clip"], frames["seconds"], strict=True)
        moments = dict(zip(frames["path"], cut, strict=True))
    if not files:
        known = " ".join(sorted(images.EXTENSIONS | clips.EXTENSIONS))
        raise InputError(f"no images under {source.uri}; expected files ending in {known}")
    found = [storable(file.path) for file in files]
    stems = [stem(path) for path in found]
    seen: dict[str, int] = {}
    for name in stems:
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
    ids = [
        path if seen[name.casefold()] > 1 else name for path, name in zip(found, stems, strict=True)
    ]
    by_stem: dict[str, File] = {}
    if labels is not None:
        by_stem = {stem(file.path): file for file in labels.files() if is_image(file.path)}
        if not any(name in by_stem for name in stems):
            raise InputError(
                f"none of the {len(found)} images under {source.uri} has a label under "
                f"{labels.uri}; a label has the same relative path and stem as its image"
            )
    belonging = [by_stem.get(name) for name in stems]
    cut_from = [moments.get(path, (None, None)) for path in found]
    listing: dict[str, list[Any]] = {
        "path": found,
        "image_id": ids,
        "label": [label and label.path for label in belonging],
        "bytes": [file.bytes for file in files],
        "version": [file.version for file in files],
        "label_version": [label and label.version for label in belonging],
        "clip": [clip for clip, _ in cut_from],
        "seconds": [seconds for _, seconds in cut_from],
    }
    return {name: listing[name] for name in columns(frames is not None)}


def storable(path: str) -> str:
    """The path itself, or with escapes where its bytes are not UTF-8: it is then quarantined."""
    return path.encode("utf-8", "backslashreplace").decode()


def is_image(path: str) -> bool:
    """Whether the file's ending is an image's, and it is not hidden."""
    name = PurePosixPath(path)
    return name.suffix.lower() in images.EXTENSIONS and not name.name.startswith(".")


def stem(path: str) -> str:
    """The path without its extension."""
    return str(PurePosixPath(path).with_suffix(""))


def load_taxonomy(location: str | None) -> Taxonomy | None:
    """The taxonomy at a path or URI.

    Raises:
        InputError: it cannot be read or understood.
    """
    if location is None:
        return None
    folder, _, name = Storage.at(location).uri.rpartition("/")
    try:
        return Taxonomy.parse(json.loads(Storage(folder).read(name)))
    except FileNotFoundError:
        raise InputError(f"the taxonomy {location} does not exist") from None
    except ValueError as error:
        raise InputError(f"the taxonomy {location} is not JSON: {error}") from None


def taxonomy_document(taxonomy: Taxonomy | None) -> dict[str, Any] | None:
    """The taxonomy as its JSON document."""
    if taxonomy is None:
        return None
    return {
        "name": taxonomy.name,
        "classes": list(taxonomy.classes),
        "void": taxonomy.void,
        "fine_to_coarse": taxonomy.fine_to_coarse and list(taxonomy.fine_to_coarse),
        "first_class_id": taxonomy.first_class_id,
    }


def columns(has_clips: bool) -> dict[str, str]:
    """Names and types of the listing's columns."""
    return {**LISTING_COLUMNS, **(CLIP_COLUMNS if has_clips else {})}


def arrived_later(workspace: Workspace, dump: str) -> list[str]:
    """Images and videos that lie beside a finished dump's but are not in it: they need a dump of
    their own."""
    known = set(_listing(workspace, dump)["path"])
    known.update((clips.listed(workspace, dump) or {"path": []})["path"])
    _, present = _present(str(workspace.corpus(dump).manifest()["images_uri"]))
    return [
        path
        for path in present
        if (is_image(path) or clips.is_clip(path)) and storable(path) not in known
    ]


def check_unchanged(workspace: Workspace, dump: str) -> None:
    """Refuse a finished dump whose files are others by now, under the same names.

    Files whose mark in the store differs are read again and compared with the index; those that
    are gone or out of reach change nothing, finished work stands without them.

    Raises:
        InputError: some changed; names them.
    """
    manifest = workspace.corpus(dump).manifest()
    listing = _listing(workspace, dump)
    of_file = [clip is None for clip in listing.get("clip", [None] * len(listing["path"]))]
    entries = _digests(workspace, dump)
    changed: list[str] = []
    for uri, names, marks, column in (
        (manifest["images_uri"], "path", "version", "digest"),
        (manifest["labels_uri"], "label", "label_version", "label_digest"),
    ):
        if not uri:
            continue
        source, present = _present(uri)
        if names == "path":
            changed += clips.changed(workspace, dump, source, present)
        suspects = [
            (name, present[name].bytes != size)
            for name, mark, size, own in zip(
                listing[names], listing[marks], listing["bytes"], of_file, strict=True
            )
            if name in present and present[name].version != mark and (own or names == "label")
        ]
        for first in range(0, len(suspects), CHECKED_AT_ONCE):
            part = suspects[first : first + CHECKED_AT_ONCE]
            contents = source.read_many([name for name, _ in part])
            for (name, resized), content in zip(part, contents, strict=True):
                digest = entries[column].get(name)
                if digest is None:  # quarantined: its bytes were not described
                    changed += [name] if resized and names == "path" else []
                elif content is not None and keys.digest(content) != digest:
                    changed.append(name)
    refuse_changed(dump, changed)


def refuse_changed(dump: str, changed: Sequence[str]) -> None:
    """Refuse a dump whose files are others by now.

    Raises:
        InputError: some are; names them.
    """
    if changed:
        more = f" and {len(changed) - NAMED_FILES} more" if len(changed) > NAMED_FILES else ""
        raise InputError(
            f"dump {dump} is immutable, and {len(changed)} of its files changed since it was "
            f"indexed: {', '.join(changed[:NAMED_FILES])}{more}; put the old ones back, or give "
            "the new ones under another name with --dump"
        )


def _listing(workspace: Workspace, dump: str) -> dict[str, list[Any]]:
    folder = workspace.corpus(dump)
    listing: dict[str, list[Any]] = tables.read_table(
        folder.storage, f"{folder.path}/{LISTING}"
    ).to_pydict()
    return listing


def _digests(workspace: Workspace, dump: str) -> dict[str, dict[str, str]]:
    """Digests that the index holds, of images and of labels by their paths."""
    folder = workspace.corpus(dump)
    index = tables.read_table(folder.storage, f"{folder.path}/index.parquet").to_pydict()
    return {
        "digest": dict(zip(index["path"], index["digest"], strict=True)),
        "label_digest": dict(zip(index["label"], index["label_digest"], strict=True)),
    }


def _present(uri: str) -> tuple[Storage, dict[str, File]]:
    """Files that are there now, and where; none where the place is gone or out of reach."""
    try:
        source, files = clips.found(Storage(uri))
    except (InputError, OutageError):
        return Storage(uri), {}
    return source, {file.path: file for file in files}
