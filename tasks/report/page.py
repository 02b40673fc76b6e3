"""The report as one HTML file that opens from disk."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.files.left_out import LeftOutCounts
from tasks.options.base import EXPLORER_PORT
from tasks.report import charts, data_uris
from tasks.report.contents import (
    ComparedImage,
    DumpReport,
    ExampleImage,
    Report,
    SeedFigure,
    Timing,
    TrainingCurves,
)
from tasks.report.data_uris import Colour, Embedded, Picture

T = TypeVar("T")
BLANK = "–"
"""What stands for a number that is not there."""
BLANK_BACKBONE = dict.fromkeys(("name", "layer", "note"), BLANK)
BLANK_START = dict.fromkeys(("name", "note"), BLANK)
QUARANTINE_ROWS = 200
"""Quarantined images that are listed."""
MORE_QUARANTINED = " Pages of dumps list theirs; stego status --quarantine lists all."
"""Where the others are."""
EXPLORER = f"http://127.0.0.1:{EXPLORER_PORT}/"
"""Default address of `stego explore`."""
QUERIES: dict[str, Colour] = {
    "blue": (64, 138, 255),
    "red": (255, 72, 48),
    "green": (0, 208, 120),
}
"""Query points of the seed figure, in STEGO's colours."""
CURVES = {"Loss": "loss", "Mean code correspondence": "mean"}
"""Prefix of the columns that each chart shows, by its title."""


def render(report: Report) -> str:
    """The report as one self-contained HTML document, safe against hostile names.

    Raises:
        ValueError: a picture is not (H, W, 3) uint8, or parts of a figure differ in number.
    """
    status, curves = report.status, report.curves
    listed = _only(status["dumps"], report.listed)
    return _rendered(
        "report.html.j2",
        report=report,
        status={**status, "dumps": listed, "scores": _only(status["scores"], report.scored)},
        dumps=len(status["dumps"]),
        scored=len(status["scores"]),
        unusable=status.get("unusable", len(status["quarantine"])),
        more_quarantined=MORE_QUARANTINED,
        backbone={**BLANK_BACKBONE, **(status["backbone"] or {})},
        queries=QUERIES,
        classes=sorted(report.classes, key=lambda entry: -entry.share),
        widest=max((entry.share for entry in report.classes), default=0.0) or 1.0,
        start={**BLANK_START, **(report.picie_start or {})},
        seed=_seed_rows(report.seed) if report.seed else [],
        confusions=[(matrix.dump, charts.confusion(matrix)) for matrix in report.confusions],
        curves=list(_curve_charts(curves)) if curves else [],
        minima=charts.minima(report.minima, report.restart) if report.minima else None,
        restarts=charts.restarts(report.inertias)
        if any(map(math.isfinite, report.inertias))
        else None,
        hierarchy=charts.hierarchy(report.merges) if report.merges else None,
    )


def render_dump(report: DumpReport) -> str:
    """A dump's own page; raises as `render`."""
    chart = charts.confusion(report.confusion) if report.confusion else None
    return _rendered("dump.html.j2", report=report, facts=report.facts, confusion=chart)


def render_list(status: Mapping[str, Any], dumps: Sequence[str], pages: Mapping[str, str]) -> str:
    """A list of some dumps, and the addresses of their own pages."""
    facts, scores = _only(status["dumps"], dumps), _only(status["scores"], dumps)
    return _rendered("dumps.html.j2", dumps=facts, scores=scores, pages=pages)


def _only(by_dump: Mapping[str, T], dumps: Sequence[str] | None) -> Mapping[str, T]:
    """What stands for some dumps, by default for all."""
    if dumps is None:
        return by_dump
    return {dump: by_dump[dump] for dump in dumps if dump in by_dump}


def _rendered(template: str, **given: Any) -> str:
    shared = {"listed": QUARANTINE_ROWS, "explorer": EXPLORER}
    page = _environment().get_template(template).render(**shared, **given)
    # Names of files may hold bytes that are not text; the page must still be UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        linked=partial(quote, safe="", errors="replace"),  # as a part of a link's path
        pictures=_pictures,
        columns=_columns,
        count=_count,
        percent=_percent,
        duration=_duration,
        rate=_rate,
        portrait=_portrait,
        left_out=lambda dump: LeftOutCounts.of(dump).lines(),
    )
    return environment


def _pictures(item: ExampleImage) -> list[tuple[str, Embedded | None]]:
    """An image in four pictures, each with its caption; None where it has no labels."""
    name, labels = f"{item.dump} / {item.image_id}", None
    if item.labels is not None:
        labels = data_uris.mask(item.labels, f"Labels of {name}, coloured by class")
    return [
        ("image", data_uris.photo(item.image, f"Image {name}")),
        ("overlay", data_uris.photo(item.overlay, f"Classes of {name} over the image")),
        ("classes", data_uris.mask(item.mask, f"Classes of {name}, coloured by class")),
        ("labels", labels),
    ]


def _columns(item: ComparedImage, dump: str) -> list[tuple[str, Embedded]]:
    """An image and what it is compared by, each with its caption."""
    name = f"{dump} / {item.image_id}"
    return [
        ("image", data_uris.photo(item.image, f"Image {name}")),
        *(
            (caption, data_uris.mask(column, f"{caption} of {name}, coloured by class"))
            for caption, column in item.columns.items()
        ),
    ]


def _portrait(picture: Picture, name: str) -> Embedded:
    return data_uris.photo(picture, f"{name} in the image that has most of it")


def _seed_rows(seed: SeedFigure) -> list[tuple[str, list[Embedded]]]:
    """One row per target: its caption, then the picture and its three heat maps."""
    colours = list(QUERIES.values())
    rows: list[tuple[str, list[Embedded]]] = []
    for (picture, heats), caption in zip(seed.heats, seed.captions, strict=True):
        points = [None] * len(QUERIES) if rows else seed.points
        first = data_uris.photo(picture, f"{caption}: picture")
        if not rows:
            first = data_uris.marked(picture, seed.points, colours, f"{caption}: query points")
        maps = [
            data_uris.heat(picture, heat, colour, f"{caption}: like the {name} point", point)
            for heat, point, (name, colour) in zip(heats, points, QUERIES.items(), strict=True)
        ]
        rows.append((caption, [first, *maps]))
    return rows


def _curve_charts(curves: TrainingCurves) -> Iterator[Embedded]:
    for title, prefix in CURVES.items():
        lines = {
            name.removeprefix(f"{prefix}_") if name != prefix else "total": values
            for name, values in curves.columns.items()
            if (name == prefix or name.startswith(f"{prefix}_")) and len(values)
        }
        if lines:
            longest = max(map(len, lines.values()))
            steps = curves.columns.get("step", np.arange(longest, dtype=np.float64))
            yield charts.curves(title, steps, lines)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.1f}"


def _percent(value: float | None) -> str:
    return BLANK if value is None or math.isnan(value) else f"{value:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _rate(timing: Timing) -> str:
    if timing.seconds <= 0:
        return BLANK
    rate = timing.items / timing.seconds
    return f"{_count(rate)} {timing.unit}/s" if rate >= 1 else f"{rate:.2g} {timing.unit}/s"
