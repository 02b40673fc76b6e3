"""The scores of a benchmark beside the published ones: a JSON document and a figure."""

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

RAW = "k-means on raw features, here"
"""The row of the baseline."""
OURS = "STEGO, here"
"""The row of this run."""


def write(
    workspace: Workspace, benchmark: Benchmark, dumps: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    """Store the figures of a finished benchmark in the report's folder.

    `dumps` are that of training and that of evaluation, `notes` say where the run departs from the
    published protocol. Returns the document, with the paths of document and figure.
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
    folder = layout.report(report_name(benchmark, prepared[val]["limit"]))
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
            *(paper_row._asdict() for paper_row in benchmark.published),
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
    files = {
        "document": f"{folder}/{layout.BENCHMARK_FILE}",
        "figure": f"{folder}/{layout.CONFUSION_FILE}",
    }
    content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    workspace.storage.write(files["document"], content)
    workspace.storage.write(files["figure"], charts.confusion_png(matrix))
    return {**document, **{name: workspace.storage.full(path) for name, path in files.items()}}


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


def report_name(benchmark: Benchmark, limit: int | None, split: str = "") -> str:
    """Name of a benchmark's report, or of a split's dump; a trial on a part has its own."""
    parts = (benchmark.name, split, f"first{limit}" if limit else "")
    return "-".join(part for part in parts if part)
