"""Every image that some stage could not use, with its reason."""

from collections.abc import Sequence

import numpy as np

from tasks.corpus.index import IndexReader
from tasks.sources.forms import AGAIN
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary

NEWEST = 8
"""Dumps whose quarantined images are listed unprompted; all of them are counted."""


def quarantined(summary: Summary, dumps: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Dump, path, stage and reason of each such image of some dumps, by default of all, once each.

    Where several stages name an image, the index's reason counts, else the earliest stage's. An
    image that a later dump tried again counts as that dump has it.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    again = _tried_again(summary)
    for dump in summary.dumps if dumps is None else dumps:
        for row in _up_to_the_index(summary, dump):
            rows[dump, row["path"]] = {"dump": dump, **row}
        for row in _after_the_index(summary, dump):
            rows.setdefault((dump, row["path"]), {"dump": dump, **row})
        for path in again.get(dump, ()):
            rows.pop((dump, path), None)
    return list(rows.values())


def quarantine_counts(summary: Summary) -> dict[str, int]:
    """How many such images each dump has."""
    again = _tried_again(summary)
    return {
        dump: entry.quarantined - len(again.get(dump, ()))
        for dump, entry in summary.catalog.items()
    }


def newest_quarantined(summary: Summary) -> list[dict[str, str]]:
    """As `quarantined`, of the newest dumps that have such images, at most NEWEST of them."""
    having = [dump for dump, count in quarantine_counts(summary).items() if count]
    return quarantined(summary, having[-NEWEST:])


def _tried_again(summary: Summary) -> dict[str, set[str]]:
    """Quarantined images that later dumps tried again, by the dump that has them in quarantine."""
    found: dict[str, set[str]] = {}
    for dump, entry in summary.catalog.items():
        if (uri := str(entry.corpus["images_uri"])).startswith(AGAIN):
            path = f"{summary.workspace.corpus(dump).path}/{layout.LISTING_FILE}"
            listed = tables.read_columns(summary.workspace.storage, path, ["path"])["path"]
            found.setdefault(uri.removeprefix(AGAIN), set()).update(listed)
    return found


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
