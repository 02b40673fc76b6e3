"""The document of `stego status`: counts, classes, scores and quarantine."""

from typing import Any

from tasks.class_names import classes_file
from tasks.corpus.quarantine import quarantined
from tasks.files.left_out import LeftOutCounts
from tasks.images import number_meaning
from tasks.workspace.summary import METHODS, Summary

SCORE_NAMES = (
    "per_class",
    *(f"{prefix}{figure}" for prefix in METHODS.values() for figure in ("accuracy", "miou")),
)
"""Figures that a dump's scores may have."""
DUMP_STAGES = ("features", "neighbors", "masks")
"""Stages that each dump has gone through or not."""


def document(summary: Summary) -> dict[str, Any]:
    """All that a workspace holds, as `stego status --json` prints it."""
    named = classes_file.names_for_display(summary.workspace)
    clusters = summary.whole("clusters")
    dumps = {dump: _dump(summary, dump) for dump in summary.dumps}
    manifests = {dump: summary.scores(dump) for dump in summary.dumps}
    scores = {
        dump: {name: manifest["scores"].get(name) for name in SCORE_NAMES}
        for dump, manifest in manifests.items()
        if manifest
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
        "quarantine": quarantined(summary),
        "scores": scores,
        "spread": summary.last_run.get("spread", {}),
    }


def _dump(summary: Summary, dump: str) -> dict[str, Any]:
    """What the document says of a dump."""
    corpus = summary.workspace.corpus(dump).manifest()
    masks = summary.manifest("masks", dump) or {}
    counts = ("images", "labelled", "quarantined", "megapixels")
    return {
        **{name: corpus[name] for name in counts},
        **LeftOutCounts.of(corpus).document(),
        "stages": {stage: summary.folder(stage, dump) is not None for stage in DUMP_STAGES},
        "masks": masks.get("masks", 0),
        "flicker": masks.get("flicker"),
        "drift": summary.last_run.get("drift", {}).get(dump),
        "values": number_meaning.remarks(corpus),
    }
