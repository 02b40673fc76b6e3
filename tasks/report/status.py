"""What `stego status` tells: counts, classes, scores, quarantine, and what to look at first."""

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


def document(summary: Summary) -> dict[str, Any]:
    """All that a workspace holds, as `stego status --json` prints it."""
    named = classes_file.shown(summary.workspace)
    dumps = {}
    scores = {}
    for dump in summary.dumps:
        corpus = summary.workspace.corpus(dump).manifest()
        masks = summary.manifest("masks", dump) or {}
        counts = ("images", "labelled", "quarantined", "megapixels")
        dumps[dump] = {
            **{name: corpus[name] for name in counts},
            **LeftOutCounts.of(corpus).document(),
            "stages": {
                stage: summary.folder(stage, dump) is not None
                for stage in ("features", "neighbors", "masks")
            },
            "masks": masks.get("masks", 0),
            "flicker": masks.get("flicker"),
            "drift": summary.last_run.get("drift", {}).get(dump),
            "values": number_meaning.remarks(corpus),
        }
        scored = summary.scores(dump)
        if scored:
            scores[dump] = {name: scored["scores"].get(name) for name in SCORE_NAMES}
    return {
        "workspace": summary.workspace.storage.uri,
        "stages": {
            "corpus": bool(summary.dumps),
            "head": summary.whole("head") is not None,
            "clusters": summary.whole("clusters") is not None,
            **{
                stage: bool(summary.dumps) and all(d["stages"][stage] for d in dumps.values())
                for stage in ("features", "neighbors", "masks")
            },
            "scores": bool(scores),
        },
        "dumps": dumps,
        "counts": {
            "images": sum(d["images"] for d in dumps.values()),
            "masks": sum(d["masks"] for d in dumps.values()),
            "classes": len(named.classes.kept()) if named else 0,
        },
        "classes": named.classes.names() if named else [],
        "revision": named.revision if named else 0,
        "keys": summary.keys,
        "pretrained": summary.pretrained(),
        "backbone": (summary.whole("clusters") or {}).get("backbone"),
        "imported": (summary.whole("clusters") or {}).get("imported"),
        "quarantine": quarantined(summary),
        "scores": scores,
        "spread": summary.last_run.get("spread", {}),
    }
