"""Prepares damaged shards to be computed again, and joins tables again of their parts.

Only records and manifests are removed, never data: a run then computes what has no record. Records
go before manifests, so that a repair that was killed is found and finished by the next one.
"""

import re

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, StegoError
from tasks.corpus.index import IndexReader
from tasks.storage.run_cache import current_run, renew
from tasks.upkeep.damage_findings import Fate, Finding
from tasks.upkeep.guarded_reading import damages_of
from tasks.upkeep.source_images import blocks
from tasks.workspace import arrays, kept_documents, layout, lease, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

RECORD_FILE = re.compile(rf"/{layout.RECORDS}/(\d+)\.json$")
"""The end of a record's path, with the number of the shard."""


def repair(workspace: Workspace, findings: list[Finding]) -> list[str]:
    """Do what can be done about some findings; only whoever holds the lease does so.

    Returns:
        a sentence for each finding that a repair is for.
    """
    done = list[str]()
    for finding in findings:
        lease.check(workspace.storage)
        if finding.fate is Fate.MENDED:
            done.append(_join(workspace, finding))
        elif finding.records:
            done.append(_prepare(workspace, finding))
    if any(finding.records for finding in findings):
        workspace.storage.remove(layout.CATALOG_FILE)  # it would know removed manifests
        kept_documents.forget(workspace.storage)
        renew(f"{current_run()} repaired")
    return done


def _prepare(workspace: Workspace, finding: Finding) -> str:
    """Remove what says that damaged data are whole, if what they are made from is still there."""
    try:
        problem = _source_problem(workspace, finding)
    except StegoError as error:
        problem = str(error)
    if problem:
        return f"{finding.path}: left as it is, since it could not be computed again: {problem}"
    for path in finding.records:
        workspace.storage.remove(path)
    _remove_damaged_metadata(workspace, finding)
    return f"{finding.path}: its record was removed; {finding.remedy}"


def _remove_damaged_metadata(workspace: Workspace, finding: Finding) -> None:
    """Metadata of an array are written again where they are not there; shards stay valid."""
    folder = finding.records[-1].rpartition("/")[0]
    above, _, name = finding.path.rpartition("/")
    if not folder.endswith(layout.zarr("")) or above != folder or name == layout.ARRAY_FILE:
        return
    if damages_of(finding.path, lambda: arrays.open_array(workspace.storage, folder, name)):
        workspace.storage.remove(f"{finding.path}/{layout.ARRAY_FILE}")


def _source_problem(workspace: Workspace, finding: Finding) -> str:
    """Why features or masks could not be made again from the images; empty if they could."""
    top, *_, dump = finding.records[-1].split("/")[:-1]
    if top not in (layout.FEATURES, layout.MASKS):
        return ""
    index = IndexReader(workspace, dump.removesuffix(layout.zarr("")))
    folder = Folder(workspace.storage, finding.records[-1].rpartition("/")[0])
    for rows in _rows(index, folder, finding):
        for entry in index.entries(rows):
            try:
                index.content(entry)
            except ImageError as error:
                return f"image {entry['path']}: {error}"
    return ""


def _rows(index: IndexReader, folder: Folder, finding: Finding) -> list[NDArray[np.int64]]:
    """Rows of the index that the shards to be computed are made from: of one shard, else all.

    An image that could not be read when they were made is not needed now either.
    """
    every = list(blocks(int(index.manifest["images"])))
    numbers = [int(match[1]) for path in finding.records if (match := RECORD_FILE.search(path))]
    if len(numbers) != 1:
        return every
    try:
        record, crops = folder.record_of(numbers[0]), int(folder.manifest().get("crops", 1))
        rows = np.arange(*record.rows)
        if folder.path.startswith(f"{layout.FEATURES}/"):
            images = np.unique(rows // crops)
            rows = arrays.read_rows(folder.storage, folder.path, layout.IMAGES, images)
    except (StegoError, FileNotFoundError):
        return every
    return [np.setdiff1d(rows, list(record.invalid))]


def _join(workspace: Workspace, finding: Finding) -> str:
    """Write a table anew, of parts that are whole."""
    storage = workspace.storage
    try:
        for part in finding.parts:
            tables.verify_table(storage, part)
        columns = tables.columns_of(storage, finding.parts[0])
        tables.join_tables(storage, finding.parts, finding.path, columns)
    except (StegoError, FileNotFoundError) as error:
        return f"{finding.path}: left as it is, since its parts cannot be read: {error}"
    return f"{finding.path}: joined again of its parts"
