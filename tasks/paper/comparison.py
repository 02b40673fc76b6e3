"""What a benchmark came to, beside what was published: a JSON document and a figure."""

import json
from collections.abc import Sequence
from typing import Any

from stego_core.paper.published_protocol import Benchmark
from tasks.paper.protocol import DIFFERENCES
from tasks.report import charts
from tasks.report.confusion import confusion
from tasks.workspace import layout
from tasks.workspace.layout import PREPARED
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

DOCUMENT, FIGURE = layout.BENCHMARK_FILE, layout.CONFUSION_FILE
RAW, OURS = "k-means on raw features, here", "STEGO, here"


def write(
    workspace: Workspace, benchmark: Benchmark, dumps: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    """Gather the figures of a finished benchmark and store them in the report's folder.

    Args:
        workspace: that holds it.
        benchmark: which data set.
        dumps: the training and the evaluation dump.
        notes: where the run departs from the published protocol.

    Returns:
        the document, with the places of report, figure and document.
    """
    summary = Summary(workspace)
    train, val = dumps
    scored = summary.scores(val)
    matrix = confusion(summary, val)
    assert scored is not None  # the squares have labels, or preparing them would have failed
    assert matrix is not None
    figures = scored["scores"]
    backbone = (summary.whole("clusters") or {})["backbone"]
    prepared = {dump: workspace.folder(PREPARED, dump).manifest() for dump in dumps}
    lost = sum(manifest["quarantined"] for manifest in prepared.values())
    lost += len(scored["invalid"])
    folder = layout.report(place(benchmark, prepared[val]["limit"]))
    document = {
        "benchmark": benchmark.name,
        "workspace": workspace.storage.uri,
        "data": prepared[val]["data"],
        "backbone": backbone,
        "images": {
            split: prepared[dump]["rows"] - prepared[dump]["quarantined"]
            for split, dump in (("train", train), ("val", val))
        },
        "unusable": lost,
        "departures": list(notes),
        "differences": list(DIFFERENCES),
        "rows": [
            row(OURS, backbone["name"], figures, "", "linear_"),
            row(RAW, backbone["name"], figures, "baseline_"),
            *(each._asdict() for each in benchmark.published),
        ],
        "spread": summary.last_run.get("spread", {}).get(val),
        "per_class": figures["per_class"],
        "classes": list(benchmark.classes),
        "confusion": {
            "true": list(matrix.true_names),
            "predicted": list(matrix.predicted_names),
            "pixels": matrix.counts.tolist(),
        },
        "matching": scored["matching"]["stego"],
    }
    content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    png = charts.confusion_png(matrix)
    workspace.storage.write(f"{folder}/{DOCUMENT}", content)
    workspace.storage.write(f"{folder}/{FIGURE}", png)
    return {
        **document,
        "document": workspace.storage.full(f"{folder}/{DOCUMENT}"),
        "figure": workspace.storage.full(f"{folder}/{FIGURE}"),
    }


def row(
    system: str, backbone: str, figures: dict[str, Any], prefix: str, linear: str | None = None
) -> dict[str, Any]:
    """A row of the table, in percent; None where nothing was measured."""
    return {
        "system": system,
        "backbone": backbone,
        "accuracy": figures[f"{prefix}accuracy"],
        "miou": figures[f"{prefix}miou"],
        "linear_accuracy": figures[f"{linear}accuracy"] if linear else None,
        "linear_miou": figures[f"{linear}miou"] if linear else None,
    }


def place(benchmark: Benchmark, limit: int | None, split: str = "") -> str:
    """Name of a benchmark's report, or of a split's dump; a trial's differ from the whole's."""
    parts = (benchmark.name, split, f"first{limit}" if limit else "")
    return "-".join(part for part in parts if part)
