"""Whether the images of a dump, which lie outside a workspace, are there as they were indexed."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from tasks.corpus.changed_files import not_among
from tasks.corpus.index import Entry, IndexReader
from tasks.corpus.listing import ESCAPED_NAME
from tasks.files import video_files
from tasks.storage.storage import Storage
from tasks.upkeep.damage_findings import Damage
from tasks.upkeep.guarded_reading import problem_of
from tasks.workspace import keys, layout

BLOCK_ROWS = 128
"""Images that are compared by one thread, one after another."""


def absent_images(index: IndexReader) -> list[Damage]:
    """One finding where files of images are gone, by listing their folder.

    Members of archives and addresses in lists are not looked for.
    """
    manifest = index.manifest
    if manifest.get("members"):
        return []
    root = manifest.get("images_root") or manifest["images_uri"]
    try:
        _, files = video_files.root_and_each(Storage(root))
        present = (file.path for file in files)
        absent, first = 0, ""
        for path in not_among(_paths(index), present):
            absent, first = absent + 1, first or path
    except InputError as error:
        return [Damage(root, f"images of dump {index.dump}: {error}")]
    if not absent:
        return []
    text = f"{absent} of {manifest['images']} images of dump {index.dump} are gone, such as {first}"
    return [Damage(root, text)]


def _paths(index: IndexReader) -> Iterator[str]:
    """Paths of images that are files of the user's, in order."""
    clips = index.has_clips
    for columns in index.columns(["path", *(["clip"] if clips else [])]):
        for number, path in enumerate(columns["path"]):
            of_a_clip = clips and columns["clip"][number] is not None
            if not of_a_clip and ESCAPED_NAME not in path:  # whose file has other bytes as a name
                yield path


def changed_images(index: IndexReader, rows: NDArray[np.int64], deep: bool) -> list[Damage]:
    """Images and labels among some rows that cannot be read, or are not what was indexed.

    Labels that were made of a COCO file lie in the workspace; without `deep` only these are read.
    """
    damages = list[Damage]()
    for entry in index.entries(rows):
        try:
            if deep:
                index.content(entry)
                index.labels(entry)
            elif index.manifest.get("coco") and entry["label_digest"]:
                _check_label(index, entry)
        except ImageError as error:
            damages.append(Damage(index.uri(entry), str(error)))
        except Exception as error:  # whatever a damaged label leads to
            path = layout.label(index.dump, entry["image_id"])
            damages.append(Damage(path, problem_of(error)))
    return damages


def _check_label(index: IndexReader, entry: Entry) -> None:
    path = layout.label(index.dump, entry["image_id"])
    if keys.digest(index.workspace.storage.read(path)) != entry["label_digest"]:
        raise ImageError(f"its label {path} is not what was indexed")


def blocks(count: int) -> Iterator[NDArray[np.int64]]:
    """The rows of a dump in blocks."""
    for first in range(0, count, BLOCK_ROWS):
        yield np.arange(first, min(first + BLOCK_ROWS, count))
