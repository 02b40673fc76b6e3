"""What lies in a folder of images: the list, the ids, the labels that belong, the taxonomy."""

import json
from pathlib import PurePosixPath
from typing import Any

from stego_core.errors import ImageError, InputError, OutageError
from stego_core.taxonomy import Taxonomy
from tasks import images
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
    """The dump's name where none is given: the last part of where the images lie."""
    name = PurePosixPath(images_uri.rstrip("/")).name
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip(".-")
    return cleaned[:100] or "images"


def listed(source: Storage, labels: Storage | None) -> dict[str, list[Any]]:
    """Columns of the listing: every image file, its id, and its label where there is one.

    The id is the relative path without extension; images that differ in the extension only
    keep it, so that ids stay unique.

    Raises:
        InputError: no image is found.
    """
    files = [file for file in source.files() if is_image(file.path)]
    if not files:
        known = " ".join(sorted(images.EXTENSIONS))
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
    return {
        "path": found,
        "image_id": ids,
        "label": [label and label.path for label in belonging],
        "bytes": [file.bytes for file in files],
        "version": [file.version for file in files],
        "label_version": [label and label.version for label in belonging],
    }


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


def arrived_later(workspace: Workspace, dump: str) -> list[str]:
    """Images that lie beside a finished dump's but are not in it: they need a dump of their own."""
    known = set(_listing(workspace, dump).column("path").to_pylist())
    present = _present(str(workspace.corpus(dump).manifest()["images_uri"]))
    return [path for path in present if is_image(path) and storable(path) not in known]


def check_unchanged(workspace: Workspace, dump: str) -> None:
    """Refuse a finished dump whose files are others by now, under the same names.

    Files whose mark in the store differs are read again and compared with the index; those that
    are gone or out of reach change nothing, finished work stands without them.

    Raises:
        InputError: some changed; names them.
    """
    manifest = workspace.corpus(dump).manifest()
    listing = _listing(workspace, dump).to_pydict()
    entries = _digests(workspace, dump)
    changed: list[str] = []
    for uri, names, marks, column in (
        (manifest["images_uri"], "path", "version", "digest"),
        (manifest["labels_uri"], "label", "label_version", "label_digest"),
    ):
        present = _present(uri) if uri else {}
        suspects = [
            (name, present[name].bytes != size)
            for name, mark, size in zip(
                listing[names], listing[marks], listing["bytes"], strict=True
            )
            if name in present and present[name].version != mark
        ]
        for first in range(0, len(suspects), CHECKED_AT_ONCE):
            part = suspects[first : first + CHECKED_AT_ONCE]
            contents = Storage(uri).read_many([name for name, _ in part])
            for (name, resized), content in zip(part, contents, strict=True):
                digest = entries[column].get(name)
                if digest is None:  # quarantined: its bytes were not described
                    changed += [name] if resized and names == "path" else []
                elif content is not None and keys.digest(content) != digest:
                    changed.append(name)
    if changed:
        more = f" and {len(changed) - NAMED_FILES} more" if len(changed) > NAMED_FILES else ""
        raise InputError(
            f"dump {dump} is immutable, and {len(changed)} of its files changed since it was "
            f"indexed: {', '.join(changed[:NAMED_FILES])}{more}; put the old ones back, or give "
            "the new ones under another name with --dump"
        )


def _listing(workspace: Workspace, dump: str) -> Any:
    folder = workspace.corpus(dump)
    return tables.read_table(folder.storage, f"{folder.path}/{LISTING}")


def _digests(workspace: Workspace, dump: str) -> dict[str, dict[str, str]]:
    """Digests that the index holds, of images and of labels by their paths."""
    folder = workspace.corpus(dump)
    index = tables.read_table(folder.storage, f"{folder.path}/index.parquet").to_pydict()
    return {
        "digest": dict(zip(index["path"], index["digest"], strict=True)),
        "label_digest": dict(zip(index["label"], index["label_digest"], strict=True)),
    }


def _present(uri: str) -> dict[str, File]:
    """Files that are there now; none where the place is gone or out of reach."""
    try:
        return {file.path: file for file in Storage(uri).files()}
    except (InputError, OutageError):
        return {}
