"""The document of `stego status`: counts, classes, scores and quarantine."""

from typing import Any

from tasks.class_names import classes_file
from tasks.corpus.quarantine import newest_quarantined, quarantine_counts, quarantined
from tasks.files.left_out import LeftOutCounts
from tasks.images import number_meaning
from tasks.workspace.dump_entry import DumpEntry
from tasks.workspace.summary import METHODS, Summary

SCORE_NAMES = (
    "per_class",
    *(f"{prefix}{figure}" for prefix in METHODS.values() for figure in ("accuracy", "miou")),
)
"""Figures that a dump's scores may have."""
DUMP_STAGES = ("features", "neighbors", "masks")
"""Stages that each dump has gone through or not."""


def document(summary: Summary, every_file: bool = False) -> dict[str, Any]:
    """All that a workspace holds, as `stego status --json` prints it.

    Args:
        every_file: list all quarantined files; else those of the newest dumps that have any.
    """
    named = classes_file.names_for_display(summary.workspace)
    clusters, entries = summary.whole("clusters"), summary.catalog
    drift, unusable = summary.last_run.get("drift", {}), quarantine_counts(summary)
    dumps = {dump: _dump(entry, drift.get(dump), unusable[dump]) for dump, entry in entries.items()}
    scores = {
        dump: {name: scored["scores"].get(name) for name in SCORE_NAMES}
        for dump, entry in entries.items()
        if (scored := entry.stages.get("scores"))
    }
    return {
        "workspace": summary.workspace.storage.uri,
        "stages": {
            "corpus": bool(dumps),
            "head": summary.whole("head") is not None,
            "clusters": clusters is not None,
            **{
                stage: bool(dumps) and all(dump["stages"][stage] for dump in dumps.values())
                for stage in DUMP_STAGES
            },
            "scores": bool(scores),
        },
        "dumps": dumps,
        "counts": {
            "images": sum(dump["images"] for dump in dumps.values()),
            "masks": sum(dump["masks"] for dump in dumps.values()),
            "classes": len(named.classes.kept()) if named else 0,
        },
        "classes": named.classes.names() if named else [],
        "revision": named.revision if named else 0,
        "keys": summary.keys,
        "pretrained": summary.pretrained(),
        "backbone": (clusters or {}).get("backbone"),
        "imported": (clusters or {}).get("imported"),
        "picie": (summary.whole("picie") or {}).get("start"),
        "unusable": sum(unusable.values()),
        "quarantine": quarantined(summary) if every_file else newest_quarantined(summary),
        "scores": scores,
        "spread": summary.last_run.get("spread", {}),
    }


def _dump(entry: DumpEntry, drift: dict[str, Any] | None, unusable: int) -> dict[str, Any]:
    """What the document says of a dump; `unusable` are files that any stage could not use."""
    masks = entry.stages.get("masks", {})
    counts = ("images", "labelled", "quarantined", "megapixels")
    return {
        **{name: entry.corpus[name] for name in counts},
        **LeftOutCounts.of(entry.corpus).document(),
        "stages": {stage: entry.key(stage) is not None for stage in DUMP_STAGES},
        "unusable": unusable,
        "masks": masks.get("masks", 0),
        "flicker": masks.get("flicker"),
        "drift": drift,
        "values": number_meaning.remarks(entry.corpus),
    }
