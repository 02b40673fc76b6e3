"""Compares what has one checksum as a whole: indexes of dumps, weights of backbones, moments."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from stego_core.errors import DamageError
from tasks.corpus.index import PINNED, IndexReader
from tasks.head.heads import are_stego_masks
from tasks.storage.storage import Storage
from tasks.upkeep.damage_findings import Damage
from tasks.upkeep.guarded_reading import collecting, damages_of
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

TENSORS = ".safetensors"
"""How files of tensors end."""
REQUIRED = {
    "corpus": (layout.FACTS_FILE, layout.LISTING_FILE, layout.QUARANTINE_FILE),
    "frames": (layout.CLIPS_FILE, layout.FRAMES_FILE, layout.QUARANTINE_FILE),
    "head": (layout.HEAD_FILE,),
    "clusters": (layout.CENTROIDS_FILE,),
    "picie": (layout.WEIGHTS_FILE, layout.CENTROIDS_FILE),
    "pretrain": (layout.WEIGHTS_FILE, layout.QUALITY_FILE),
    "prepare": (layout.LISTING_FILE, layout.QUARANTINE_FILE, layout.TAXONOMY_FILE),
}
"""Files of a finished folder, by stage."""
TRAININGS = ("head", "picie", "pretrain")
"""Stages that leave a curve."""


def of_folder(
    workspace: Workspace, folder: Folder, manifest: dict[str, Any], stage: str
) -> list[Damage]:
    """What is wrong beside what records prove."""
    damages = list[Damage]()
    if stage == "corpus":
        with collecting(damages, f"{folder.path}/{layout.INDEX_FILE}"):
            damages += _of_index(IndexReader(workspace, folder.path.partition("/")[2]), folder)
    elif stage == "features":
        with collecting(damages, f"{folder.path}/{layout.IMAGES}"):
            arrays.read_rows(folder.storage, folder.path, layout.IMAGES, slice(None))
    elif stage == "backbones":
        with collecting(damages, f"{folder.path}/{layout.WEIGHTS_FILE}"):
            damages += _of_backbone(folder, manifest)
    elif stage == "drift" and "digest" in manifest:
        path = f"{folder.path}/{layout.MOMENTS_FILE}"
        with collecting(damages, path):
            if keys.digest(folder.storage.read(path)) != manifest["digest"]:
                damages.append(Damage(path, "is not what its manifest says"))
    damages += _of_pins(folder, manifest)
    return damages + list(_of_other_files(folder, manifest, stage))


def _of_pins(folder: Folder, manifest: dict[str, Any]) -> Iterator[Damage]:
    """A folder must be finished from what it was begun from, as far as both say."""
    path = f"{folder.path}/{layout.PLAN}"
    try:
        plan = folder.storage.document(path) or {}
    except DamageError:
        return  # found as a document
    stated = {**(manifest.get("inputs") or {}), **manifest}
    for name in sorted({*plan} & {*stated}):
        if plan[name] != stated[name]:
            yield Damage(path, f"states another {name} than {layout.MANIFEST}")


def _of_index(index: IndexReader, folder: Folder) -> Iterator[Damage]:
    """The rows that each record proves, in the order of the records, and none beside them."""
    path, rows = f"{folder.path}/{layout.INDEX_FILE}", _pinned(index)
    for record in folder.records(int(index.manifest["shards"])):
        own = list(islice(rows, record.results["indexed"]))
        if keys.digest(keys.canonical(own)) != record.checksum:
            yield Damage(path, f"its rows of shard {record.shard} differ from what was indexed")
            return
    if next(rows, None) is not None:
        yield Damage(path, "has more rows than were indexed")


def _pinned(index: IndexReader) -> Iterator[list[Any]]:
    for columns in index.columns(PINNED):
        yield from (list(row) for row in zip(*(columns[name] for name in PINNED), strict=True))


def _of_backbone(folder: Folder, manifest: dict[str, Any]) -> Iterator[Damage]:
    """Weights whose digest, made as whoever stored them made it, is not the folder's name."""
    from tasks.features.backbones import digests  # torch takes seconds

    path = f"{folder.path}/{layout.WEIGHTS_FILE}"
    content: list[Any] = [str(manifest["backbone"]).split(".")[0]]
    content.append(digests(tables.read_tensors(folder.storage, path)))
    imagenet, positions = ["imagenet"], ["positions of DINO"]
    variants: tuple[list[str], ...] = ([], imagenet, positions, imagenet + positions)
    made = {keys.digest(keys.canonical([*content, *marks])) for marks in variants}
    if folder.path.rpartition("/")[2] not in made:
        yield Damage(path, "its weights have another digest than their folder")


def _of_other_files(folder: Folder, manifest: dict[str, Any], stage: str) -> Iterator[Damage]:
    """Files that must be there; tables, documents and tensors that no record proves."""
    names = folder.storage.names(folder.path)
    for name in _required(manifest, stage):
        if name not in names:
            yield Damage(f"{folder.path}/{name}", "is not there")
    own = [name for name in names if stage != "backbones" or not name.endswith(TENSORS)]
    yield from _of_files(folder.storage, folder.path, own)
    for part in (layout.CHECKPOINTS, layout.PARTS):
        if part in names:
            path = f"{folder.path}/{part}"
            yield from _of_files(folder.storage, path, folder.storage.names(path))


def _required(manifest: dict[str, Any], stage: str) -> list[str]:
    """Files without which a finished folder is of no use."""
    required = list(REQUIRED.get(stage, ()))
    if stage in TRAININGS and manifest.get("shards"):  # an imported one has no curve
        required.append(layout.CURVE_FILE)
    if stage == "masks" and are_stego_masks(manifest):
        required.append(layout.CONFIDENCE_FILE)
    return required


def _of_files(storage: Storage, path: str, names: Sequence[str]) -> Iterator[Damage]:
    """What cannot be read of some files, each as its ending says."""
    readers: dict[str, Callable[[Storage, str], object]] = {
        ".parquet": tables.verify_table,
        TENSORS: tables.read_tensors,
        ".json": Storage.document,
    }
    for name in names:
        read = readers.get(PurePosixPath(name).suffix)
        if read and name not in (layout.MANIFEST, layout.PLAN):
            yield from damages_of(f"{path}/{name}", partial(read, storage, f"{path}/{name}"))
