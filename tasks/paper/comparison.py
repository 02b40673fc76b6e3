"""The scores of a benchmark beside the published ones: a JSON document and a figure."""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

from stego_core.paper.published_protocol import EAGLE, SMOOSEG, Benchmark
from tasks.paper import picie_protocol, protocol
from tasks.paper.figures import comparison_png, correspondence_png
from tasks.report import charts
from tasks.report.compared_images import comparison
from tasks.report.confusion import confusion
from tasks.report.seed_figure import seed_figure
from tasks.workspace import layout
from tasks.workspace.layout import PREPARED
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

DIFFERENCES = {"stego": protocol.DIFFERENCES, "picie": picie_protocol.DIFFERENCES}
"""Differences of every run from the released code, by method."""
Method = Literal["stego", "picie"]
"""What a benchmark trains."""
RAW = "k-means on raw features, here"
"""The row of the raw features."""
OURS = "STEGO, here"
"""The row of this run."""
PICIE = "PiCIE, here"
"""The row of PiCIE."""


def write(
    workspace: Workspace,
    benchmark: Benchmark,
    dumps: Sequence[str],
    notes: Sequence[str],
    checkpoints: Sequence[dict[str, float | None]] = (),
    method: Method = "stego",
) -> dict[str, Any]:
    """Store the figures of a finished benchmark in the report's folder.

    `dumps` are that of training, but for a released model, and that of evaluation; `notes` say
    where the run departs from the published protocol, `checkpoints` are the figures of heads on
    the way. Returns the document, with the paths of document, table and figure.
    """
    summary = Summary(workspace)
    val = dumps[-1]
    scored = summary.scores(val)
    matrix = confusion(summary, val, method)
    assert scored is not None  # the squares have labels, or preparing them would have failed
    assert matrix is not None
    extra = len(matrix.predicted_names) - len(benchmark.classes)
    figures, imported = scored["scores"], (summary.whole("clusters") or {}).get("imported")
    prepared = {dump: workspace.folder(PREPARED, dump).manifest() for dump in dumps}
    lost = sum(manifest["quarantined"] for manifest in prepared.values())
    lost += len(scored["invalid"])
    folder = layout.report(report_name(benchmark, prepared[val]["limit"]))
    document = {
        "benchmark": benchmark.name,
        "method": method,
        "workspace": workspace.storage.uri,
        "data": prepared[val]["data"],
        "backbone": _backbone(summary, method),
        "images": {
            split: prepared[dump]["rows"] - prepared[dump]["quarantined"]
            for split, dump in zip(("val", "train"), reversed(dumps), strict=False)
        },
        "unusable": lost,
        "departures": list(notes),
        "differences": list(protocol.EVALUATION_DIFFERENCES if imported else DIFFERENCES[method]),
        "counting": counting(figures, extra) if extra > 0 else None,
        "rows": [
            *_rows(summary, figures, "released_" if extra > 0 else ""),
            *(paper_row._asdict() for paper_row in benchmark.published),
        ],
        "checkpoints": list(checkpoints),
        "best": best(checkpoints),
        "spread": summary.last_run.get("spread", {}).get(val),
        "per_class": dict(zip(matrix.true_names, map(_figure, matrix.ious), strict=True)),
        "classes": list(benchmark.classes),
        "confusion": {
            "true": list(matrix.true_names),
            "predicted": list(matrix.predicted_names),
            "pixels": matrix.counts.tolist(),
        },
        "matching": scored["matching"][method],
    }
    files = {
        "document": f"{folder}/{layout.BENCHMARK_FILE}",
        "figure": f"{folder}/{layout.CONFUSION_FILE}",
        "table": f"{folder}/{layout.TABLE_FILE}",
    }
    content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    workspace.storage.write(files["document"], content)
    workspace.storage.write(files["figure"], charts.confusion_png(matrix))
    workspace.storage.write(files["table"], table(document).encode())
    return {**document, **{name: workspace.storage.full(path) for name, path in files.items()}}


SELECTED = ("STEGO", SMOOSEG, EAGLE)
"""Systems whose released code keeps the checkpoint that scores best on the validation labels."""


def counting(figures: dict[str, Any], extra: int) -> str:
    """How the table counts the pixels of clusters beyond the classes, and the honest figures."""
    return (
        f"{extra} clusters more than classes: as in the released metrics, pixels of the last "
        f"{extra} are not counted, and those of other clusters left over are a class Extra of IoU "
        f"0; with every pixel counted: accuracy {figures['accuracy']}, mIoU {figures['miou']}"
    )


def write_figures(workspace: Workspace, benchmark: Benchmark, dump: str) -> dict[str, str]:
    """Store the paper's figures in the report's folder; returns their paths by their titles.

    `dump` is that of evaluation. A released model has no training features, and so no figure of
    correspondences.
    """
    summary = Summary(workspace)
    scored = summary.scores(dump)
    assert scored is not None  # the squares have labels
    limit = workspace.folder(PREPARED, dump).manifest()["limit"]
    folder = layout.report(report_name(benchmark, limit))
    contents = {layout.COMPARISON_FILE: comparison_png(comparison(summary, dump, scored))}
    if (seed := seed_figure(summary)) is not None:
        contents[layout.CORRESPONDENCE_FILE] = correspondence_png(seed)
    for name, content in contents.items():
        workspace.storage.write(f"{folder}/{name}", content)
    return {
        name.removesuffix(".png"): workspace.storage.full(f"{folder}/{name}") for name in contents
    }


def best(checkpoints: Sequence[dict[str, float | None]]) -> dict[str, float | None] | None:
    """The checkpoint of the highest mIoU on the validation labels; None of none."""
    return max(checkpoints, key=lambda one: one["miou"] or 0.0, default=None)


def table(document: dict[str, Any]) -> str:
    """The table of published results with ours in it, as Markdown, in percent.

    What a system reports of its last step stands in one column, what labels chose from its
    checkpoints in another.
    """
    lines = [
        "| system | backbone | last step: accuracy / mIoU | best of the checkpoints, chosen by "
        "validation labels | linear probe |",
        "|---|---|---|---|---|",
    ]
    ours, *others = document["rows"]
    for entry in (ours, *others):
        if entry["accuracy"] is None:
            continue
        chosen = document["best"] if entry is ours else None
        last: dict[str, Any] | None = entry
        if entry["system"] in SELECTED:
            last, chosen = None, entry
        cells = [_pair(last), _pair(chosen), _pair(entry, "linear_")]
        lines.append(f"| {entry['system']} | {entry['backbone']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _pair(figures: dict[str, Any] | None, prefix: str = "") -> str:
    values = [(figures or {}).get(f"{prefix}{name}") for name in ("accuracy", "miou")]
    return " / ".join("–" if value is None else f"{value:.1f}" for value in values)


def _figure(value: float) -> float | None:
    """An IoU for the document; None of a class that does not occur."""
    return None if math.isnan(value) else float(value)


def _backbone(summary: Summary, method: str) -> dict[str, Any]:
    """What a method's features come from: name and note at least."""
    stage, field = ("picie", "start") if method == "picie" else ("clusters", "backbone")
    described: dict[str, Any] = (summary.whole(stage) or {})[field]
    return described


def _rows(summary: Summary, figures: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The rows of what was scored here; `prefix` says which figures are STEGO's."""
    rows = []
    if figures["accuracy"] is not None:
        name, imported = (
            _backbone(summary, "stego")["name"],
            (summary.whole("clusters") or {}).get("imported"),
        )
        title = f"STEGO, {imported['file']}" if imported else OURS
        rows = [
            row(title, name, figures, prefix, "linear_"),
            row(RAW, name, figures, "baseline_"),
        ]
    if figures.get("picie_accuracy") is not None:
        start = _backbone(summary, "picie")
        rows.append(row(PICIE, f"{start['name']} ({start['note']})", figures, "picie_"))
    return rows


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
