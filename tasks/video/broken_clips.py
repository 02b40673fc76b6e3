"""Clips that cannot be used, or not to their end, each with its reason."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder, Record

SHORT_SECONDS = 1.0
"""A clip that ends this much earlier than it states was cut off."""
SHORT_SHARE = 0.05
"""The same, as a share of the stated length, where that is the one of pictures and sound."""


def broken_clips(folder: Folder, records: Sequence[Record]) -> dict[str, str]:
    """The reason of each broken clip of a dump, by its path; `records` has one per stretch."""
    clips = tables.read_table(folder.storage, f"{folder.path}/{layout.CLIPS_FILE}").to_pylist()
    stretches = tables.read_table(folder.storage, f"{folder.path}/{layout.STRETCHES_FILE}")
    by_clip: dict[str, list[Record]] = defaultdict(list)
    for path, record in zip(stretches.column("clip").to_pylist(), records, strict=True):
        by_clip[path].append(record)
    reasons = {clip["path"]: _reason(clip, by_clip[clip["path"]]) for clip in clips}
    return {path: reason for path, reason in reasons.items() if reason}


def _reason(clip: Mapping[str, Any], records: Sequence[Record]) -> str | None:
    """Why a clip cannot be used, or not to its end; None if it can."""
    errors = [error for record in records for error in record.invalid.values()]
    reason = clip["reason"] or (errors[0] if errors else _cut_off(clip, records))
    frames = sum(record.results["frames"] for record in records)
    if reason is None or not frames:
        return reason
    return f"{reason}; {'its one frame is' if frames == 1 else f'{frames} frames are'} kept"


def _cut_off(clip: Mapping[str, Any], records: Sequence[Record]) -> str | None:
    """The reason of a clip that ends earlier than it states; None if it does not."""
    stated = clip["seconds"]
    if stated is None:
        return None
    end = max((record.results["end"] or 0.0 for record in records), default=0.0)
    tolerance = SHORT_SECONDS if clip["exact"] else max(SHORT_SECONDS, SHORT_SHARE * stated)
    if end >= stated - tolerance:
        return None
    return f"it ends at {end:.2f} s but states {stated:.2f} s: it was cut off"
