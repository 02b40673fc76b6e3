"""How long the finished stages took."""

from typing import Any

from tasks.report.contents import Timing
from tasks.workspace.summary import Summary

DUMP_STAGES = ("features", "neighbors", "masks", "baseline_masks", "picie_masks")
"""Stages that have a manifest for each dump, beside corpus and scores."""
NEWEST_DUMPS = 4
"""Dumps at most whose stages are listed."""
DISPLAY_NAMES = {"baseline_masks": "masks, raw features", "picie_masks": "masks, PiCIE"}
"""Names for people, where they are not the stage's."""
UNITS = {
    "features": "crops",
    "neighbors": "crops",
    "head": "steps",
    "clusters": "restarts",
    "picie": "steps",
}
"""What a stage counts, if not images."""


def timings(summary: Summary) -> list[Timing]:
    """Seconds of the finished stages: those of the newest dumps, then of head, clusters, PiCIE."""
    rows = []
    for dump in summary.dumps[-NEWEST_DUMPS:]:
        rows += dump_timings(summary, dump)
    for stage in ("head", "clusters", "picie"):
        manifest = summary.whole(stage)
        if manifest and "imported" not in manifest:
            rows.append(_timing(stage, None, manifest))
    return rows


def dump_timings(summary: Summary, dump: str) -> list[Timing]:
    """Seconds of the finished stages of a dump."""
    manifests = {
        "corpus": summary.workspace.corpus(dump).manifest(),
        **{stage: summary.manifest(stage, dump) for stage in DUMP_STAGES},
        "scores": summary.scores(dump),
    }
    return [_timing(stage, dump, manifest) for stage, manifest in manifests.items() if manifest]


def _timing(stage: str, dump: str | None, manifest: dict[str, Any]) -> Timing:
    return Timing(
        DISPLAY_NAMES.get(stage, stage),
        dump,
        manifest["shards"],
        manifest["rows"],
        UNITS.get(stage, "images"),
        manifest["seconds"]["wall"],
    )
