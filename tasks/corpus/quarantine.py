"""Every image that some stage could not use, with its reason."""

import numpy as np

from tasks.corpus.index import QUARANTINE, IndexReader
from tasks.files import video_files
from tasks.workspace import tables
from tasks.workspace.summary import PREPARED, Summary


def quarantined(summary: Summary) -> list[dict[str, str]]:
    """Dump, path, stage and reason of each such image, once each.

    Where several stages name an image, the index's reason counts, else the earliest stage's.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for dump in summary.dumps:
        for row in _up_to_the_index(summary, dump):
            rows[dump, row["path"]] = {"dump": dump, **row}
        for row in _after_the_index(summary, dump):
            rows.setdefault((dump, row["path"]), {"dump": dump, **row})
    return list(rows.values())


def _up_to_the_index(summary: Summary, dump: str) -> list[dict[str, str]]:
    indexed = IndexReader(summary.workspace, dump).quarantine()
    return [
        *({**row, "stage": "prepare"} for row in unprepared(summary, PREPARED, dump)),
        *({**row, "stage": "frames"} for row in unprepared(summary, video_files.STAGE, dump)),
        *({**row, "stage": "corpus"} for row in indexed),
    ]


def _after_the_index(summary: Summary, dump: str) -> list[dict[str, str]]:
    """Images of the index that later stages could not read."""
    rows = []
    index = IndexReader(summary.workspace, dump)
    for stage in ("features", "masks"):
        invalid = (summary.manifest(stage, dump) or {}).get("invalid", {})
        if not invalid:
            continue
        entries = index.entries(np.array([int(row) for row in invalid], np.int64))
        for entry, reason in zip(entries, invalid.values(), strict=True):
            rows.append({"path": entry["path"], "reason": reason, "stage": stage})
    return rows


def unprepared(summary: Summary, stage: str, dump: str) -> list[dict[str, str]]:
    """Images of a published data set that no squares could be cut from, or broken videos."""
    folder = summary.workspace.folder(stage, dump)
    if not folder.finished:
        return []
    path = f"{folder.path}/{QUARANTINE}"
    rows: list[dict[str, str]] = tables.read_table(folder.storage, path).to_pylist()
    return rows
