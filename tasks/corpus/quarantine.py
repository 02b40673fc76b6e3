"""Every image that some stage could not use, with its reason."""

import numpy as np

from tasks.corpus.index import IndexReader
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary


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
    quarantines = {
        "prepare": unprepared(summary, layout.PREPARED, dump),
        "frames": unprepared(summary, layout.FRAMES, dump),
        "corpus": IndexReader(summary.workspace, dump).quarantine(),
    }
    return [{**row, "stage": stage} for stage, rows in quarantines.items() for row in rows]


def _after_the_index(summary: Summary, dump: str) -> list[dict[str, str]]:
    """Images of the index that later stages could not read."""
    quarantine = []
    index = IndexReader(summary.workspace, dump)
    for stage in ("features", "masks"):
        invalid = (summary.manifest(stage, dump) or {}).get("invalid", {})
        entries = index.entries(np.array([int(row) for row in invalid], np.int64))
        for entry, reason in zip(entries, invalid.values(), strict=True):
            quarantine.append({"path": entry["path"], "reason": reason, "stage": stage})
    return quarantine


def unprepared(summary: Summary, stage: str, dump: str) -> list[dict[str, str]]:
    """Images of a published data set that no squares could be cut from, or broken videos."""
    folder = summary.workspace.folder(stage, dump)
    if not folder.finished:
        return []
    path = f"{folder.path}/{layout.QUARANTINE_FILE}"
    return list(tables.read_table(folder.storage, path).to_pylist())
