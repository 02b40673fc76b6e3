"""Compares stored pictures with the records of their shards: masks, frames, evaluation squares."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from stego_core.errors import DamageError, StegoError
from tasks.corpus.index import Entry, IndexReader
from tasks.head.heads import are_stego_masks
from tasks.images.image_codecs import decode_mask
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.upkeep.damage_findings import Damage
from tasks.upkeep.guarded_reading import collecting, problem_of
from tasks.upkeep.proofs import DIFFERS
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

Manifest: TypeAlias = dict[str, Any]
JPEG_END = b"\xff\xd9"
SQUARES = ("images", "labels")
"""Folders of evaluation squares: of pixels, and of true classes."""


def of_masks(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Masks have the checksum on record; margins can be decoded, overlays are whole files."""
    damages, digests = list[Damage](), list[str]()
    try:
        entries = labelled_entries(workspace, manifest, record)
    except (StegoError, OSError):
        return []  # the dump's index is damaged, which says nothing about masks
    for entry in entries:
        path = layout.mask(folder.path, entry["image_id"])
        with collecting(damages, path):
            content = workspace.storage.read(path)
            digests.append(keys.digest(content))
            if decode_mask(content).shape != (entry["height"], entry["width"]):
                raise DamageError("is not of the image's size")
        damages += _beside(workspace.storage, folder, manifest, entry)
    return damages or _against(folder, digests, record, "a mask of shard")


def labelled_entries(workspace: Workspace, manifest: Manifest, record: Record) -> list[Entry]:
    """Index entries of the images of a shard that have a mask."""
    rows = np.arange(*record.rows)
    entries = IndexReader(workspace, manifest["dump"]).entries(rows)
    return [
        entry
        for row, entry in zip(rows.tolist(), entries, strict=True)
        if row not in record.invalid and (entry["label_digest"] or are_stego_masks(manifest))
    ]


def _beside(storage: Storage, folder: Folder, manifest: Manifest, entry: Entry) -> list[Damage]:
    """What is wrong with an image's margins and overlay; baselines have none."""
    damages = list[Damage]()
    if not are_stego_masks(manifest):
        return damages
    path = layout.margins(folder.path, entry["image_id"])
    with collecting(damages, path):
        decode_mask(storage.read(path))
    path = layout.overlay(folder.path, entry["image_id"])
    if manifest["options"]["overlays"]:
        with collecting(damages, path):
            if not storage.read(path).endswith(JPEG_END):
                raise DamageError("is not a whole JPEG file")
    return damages


def of_frames(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Frames of one stretch of a video, by its rows of the table."""
    first = _frames_before(folder, record.shard)
    rows = np.arange(first, first + record.results["frames"])
    path = f"{folder.path}/{layout.FRAMES_FILE}"
    try:
        frames = tables.read_rows(folder.storage, path, rows, ["path"])
    except Exception as error:  # the table is damaged, which says nothing about the frames
        problem_of(error)
        return []
    paths = [f"{folder.path}/{layout.IMAGES}/{frame['path']}" for frame in frames]
    return _of_files(folder, paths, record, "a frame of stretch")


def of_image_features(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Kept features of a shard's readable images."""
    rows = [row for row in range(*record.rows) if row not in record.invalid]
    try:
        entries = IndexReader(workspace, manifest["dump"]).entries(np.array(rows, np.int64))
    except (StegoError, OSError):
        return []  # the dump's index is damaged, which says nothing about these
    paths = [f"{folder.path}/{entry['image_id']}.safetensors" for entry in entries]
    return _of_files(folder, paths, record, "the features of an image of shard")


def _of_files(folder: Folder, paths: Iterable[str], record: Record, what: str) -> list[Damage]:
    """Files whose digests, in this order, make the checksum on record."""
    damages, digests = list[Damage](), list[str]()
    for path in paths:
        with collecting(damages, path):
            digests.append(keys.digest(folder.storage.read(path)))
    return damages or _against(folder, digests, record, what)


def _against(folder: Folder, digests: Sequence[str], record: Record, what: str) -> list[Damage]:
    if keys.digest(keys.canonical(digests)) == record.checksum:
        return []
    return [Damage(folder.path, f"{what} {record.shard} {DIFFERS}")]


def _frames_before(folder: Folder, shard: int) -> int:
    return sum(_frame_counts(folder)[:shard])


@remembered(2)
def _frame_counts(folder: Folder) -> list[int]:
    """Frames of each stretch."""
    return [each.results["frames"] for each in folder.records(len(folder.recorded()))]


def of_squares(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Squares and labels of a shard's images, in the order of their rows."""
    paths = [
        f"{folder.path}/{kind}/{name}"
        for name in _squares(folder)
        if record.rows[0] <= int(name.partition("-")[0]) < record.rows[1]
        for kind in SQUARES
    ]
    return _of_files(folder, paths, record, "a square of shard")


@remembered(1)
def _squares(folder: Folder) -> list[str]:
    """Names of the squares and of their labels, by row and crop."""
    names = {name for kind in SQUARES for name in folder.storage.names(f"{folder.path}/{kind}")}
    return sorted(name for name in names if name.partition("-")[0].isdigit())
