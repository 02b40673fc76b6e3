"""Compares the data of a shard with the checksum on record, as each kind of stage computed it."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.upkeep.damage_findings import Damage
from tasks.upkeep.guarded_reading import collecting
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

Manifest: TypeAlias = dict[str, Any]
Prove: TypeAlias = Callable[[Workspace, Folder, Manifest, Record], list[Damage]]
"""What differs from a record; `manifest` is that of the folder."""
DIFFERS = "is not what its record says"


def of_arrays(first: str, *others: str) -> Prove:
    """Of a Zarr group: the checksum is that of a shard of the first array; chunks of the others,
    as far as they are there, have checksums of their own.
    """

    def prove(
        workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
    ) -> list[Damage]:
        damages, storage = list[Damage](), workspace.storage
        names = _array_names(storage, folder.path)
        for name in (first, *(other for other in others if other in names)):
            path = f"{folder.path}/{name}"
            with collecting(damages, path):
                array = arrays.open_array(storage, folder.path, name)
                span = arrays.shard_span(record.shard, arrays.shard_rows(array), array.shape[0])
                size = (span[1] - span[0]) * math.prod(array.shape[1:]) * array.dtype.itemsize
                if name == first and record.bytes < size:  # before so much memory is taken
                    damages.append(Damage(path, f"shard {record.shard} has another size"))
                    continue
                values = arrays.read_rows(storage, folder.path, name, slice(*span))
                content = np.ascontiguousarray(values).tobytes()
                if name == first and keys.digest(content) != record.checksum:
                    damages.append(Damage(path, f"shard {record.shard} {DIFFERS}"))
        return damages

    return prove


@remembered(16)
def _array_names(storage: Storage, path: str) -> list[str]:
    return storage.folders(path)


def of_files(*names: str) -> Prove:
    """Of the bytes of some files, one after another; the number of the shard may be in a name."""

    def prove(
        workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
    ) -> list[Damage]:
        damages, contents = list[Damage](), list[bytes]()
        paths = [f"{folder.path}/{name.format(record.shard)}" for name in names]
        for path in paths:
            with collecting(damages, path):
                contents.append(workspace.storage.read(path))
        if not damages and keys.digest(b"".join(contents)) != record.checksum:
            damages.append(Damage(" and ".join(paths), DIFFERS))
        return damages

    return prove


def of_clusters(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Of the centroids, and of taught clusters of the model before them."""
    names = [layout.TAUGHT_FILE] if "taught" in manifest else []
    return of_files(*names, layout.CENTROIDS_FILE)(workspace, folder, manifest, record)


def of_results(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Of what the record itself holds."""
    return _of_document(folder, record, record.results)


def of_curve(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Of the curve in the record; its keys are numbers, which JSON stores as text."""
    curve = record.results["curve"]
    return _of_document(folder, record, {int(probes): recall for probes, recall in curve.items()})


def _of_document(folder: Folder, record: Record, document: Any) -> list[Damage]:
    if keys.digest(keys.canonical(document)) == record.checksum:
        return []
    return [Damage(folder.record_file(record.shard), "its figures have another checksum")]


def of_codebook(
    workspace: Workspace, folder: Folder, manifest: Manifest, record: Record
) -> list[Damage]:
    """Of the empty index of patches within the codebook's file."""
    path = f"{folder.path}/{layout.CODEBOOK_FILE}"
    damages = list[Damage]()
    with collecting(damages, path):
        tensors = tables.read_tensors(workspace.storage, path)
        if keys.digest(tensors["index"].tobytes()) != record.checksum:
            damages.append(Damage(path, DIFFERS))
    return damages
