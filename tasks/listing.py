"""What lies in a folder of images: the list, the ids, the labels that belong, the taxonomy."""

import json
from pathlib import PurePosixPath
from typing import Any

from stego_core.errors import ImageError, InputError
from stego_core.taxonomy import Taxonomy
from tasks import images
from tasks.workspace import tables
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace

LISTING = "listing.parquet"
ESCAPED_NAME = "\\udc"
"""What `storable` leaves in a name for a byte that is not UTF-8."""
LISTING_COLUMNS = {"path": "string", "image_id": "string", "label": "string"}


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


def listed(source: Storage, labels: Storage | None) -> dict[str, list[str | None]]:
    """Columns of the listing: every image file, its id, and its label where there is one.

    The id is the relative path without extension; images that differ in the extension only
    keep it, so that ids stay unique.

    Raises:
        InputError: no image is found.
    """
    found = [storable(path) for path, _ in source.files() if is_image(path)]
    if not found:
        known = " ".join(sorted(images.EXTENSIONS))
        raise InputError(f"no images under {source.uri}; expected files ending in {known}")
    stems = [stem(path) for path in found]
    seen: dict[str, int] = {}
    for name in stems:
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
    ids = [
        path if seen[name.casefold()] > 1 else name for path, name in zip(found, stems, strict=True)
    ]
    by_stem: dict[str, str] = {}
    if labels is not None:
        by_stem = {stem(path): path for path, _ in labels.files() if is_image(path)}
        if not any(name in by_stem for name in stems):
            raise InputError(
                f"none of the {len(found)} images under {source.uri} has a label under "
                f"{labels.uri}; a label has the same relative path and stem as its image"
            )
    return {"path": list(found), "image_id": list(ids), "label": [by_stem.get(s) for s in stems]}


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


def check_frozen(workspace: Workspace, dump: str) -> list[str]:
    """Images that lie beside a finished dump's but are not in it: they need a dump of their own."""
    folder = workspace.corpus(dump)
    manifest = folder.manifest()
    listing = tables.read_table(folder.storage, f"{folder.path}/{LISTING}")
    known = set(listing.column("path").to_pylist())
    try:
        present = Storage(manifest["images_uri"]).files()
    except InputError:
        return []  # the originals are gone or out of reach; finished work stands without them
    return [path for path, _ in present if is_image(path) and path not in known]
