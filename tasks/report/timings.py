"""How long the finished stages took."""

from typing import Any

from tasks.report.contents import Timing
from tasks.workspace.summary import Summary

DUMP_STAGES = ("features", "neighbors", "masks", "baseline_masks")
"""Stages that have a manifest for each dump, beside corpus and scores."""
DISPLAY_NAMES = {"baseline_masks": "masks, raw features"}
"""Names for people, where they are not the stage's."""
UNITS = {"features": "crops", "neighbors": "crops", "head": "steps", "clusters": "restarts"}
"""What a stage counts, if not images."""


def timings(summary: Summary) -> list[Timing]:
    """Seconds of every finished stage: those of each dump, then head and clusters."""
    rows = []
    for dump in summary.dumps:
        manifests = {
            "corpus": summary.workspace.corpus(dump).manifest(),
            **{stage: summary.manifest(stage, dump) for stage in DUMP_STAGES},
            "scores": summary.scores(dump),
        }
        rows += [
            _timing(stage, dump, manifest) for stage, manifest in manifests.items() if manifest
        ]
    for stage in ("head", "clusters"):
        manifest = summary.whole(stage)
        if manifest and "imported" not in manifest:
            rows.append(_timing(stage, None, manifest))
    return rows


def _timing(stage: str, dump: str | None, manifest: dict[str, Any]) -> Timing:
    return Timing(
        DISPLAY_NAMES.get(stage, stage),
        dump,
        manifest["shards"],
        manifest["rows"],
        UNITS.get(stage, "images"),
        manifest["seconds"]["wall"],
    )
