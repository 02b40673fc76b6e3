"""The report as one HTML file that opens from disk: its data in dataclasses, and `render`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from tasks.report import charts
from tasks.report.charts import Colour, Embedded, Floats, Picture

BLANK = "–"
EXPLORER = "http://127.0.0.1:8765/"
"""Where `stego explore` serves, unless it is told otherwise."""
QUERIES: tuple[tuple[str, Colour], ...] = (  # of the seed figure: STEGO's blue, red and green
    ("blue", (64, 138, 255)),
    ("red", (255, 72, 48)),
    ("green", (0, 208, 120)),
)
# Title of a chart, prefix of its columns.
CURVES = (("Loss", "loss"), ("Mean code correspondence", "mean"))


@dataclass(frozen=True)
class Backbone:
    """The frozen feature extractor: its name, the layer read, and a plain note on its weights."""

    name: str
    layer: str
    weights: str


@dataclass(frozen=True)
class DumpCounts:
    """How many images one dump holds, and how restless their masks are.

    `flicker` is the share of the still pixels whose class changes between neighbouring frames,
    in %, None of dumps that are no sequence. `values` says how the numbers of its files became
    colours, and what counts as no data.
    """

    dump: str
    images: int
    labelled: int
    quarantined: int
    megapixels: float
    flicker: float | None = None
    values: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A sentence on what of a dump's place became no image, or on the dump as a whole."""

    dump: str
    sentence: str


@dataclass(frozen=True)
class Quarantined:
    """One image that could not be used, the stage that gave up on it, and why."""

    dump: str
    image: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Scores:
    """Scores of one dump in %, None where not measured.

    `many` gives each cluster the class that most of its pixels have, `baseline` is k-means on the
    raw backbone features, `linear` the supervised linear probe.
    """

    dump: str
    accuracy: float | None = None
    miou: float | None = None
    baseline_accuracy: float | None = None
    baseline_miou: float | None = None
    linear_accuracy: float | None = None
    linear_miou: float | None = None
    many_accuracy: float | None = None
    many_miou: float | None = None


@dataclass(frozen=True)
class GalleryItem:
    """One image and what became of it.

    `row` is its place in the dump; pictures are RGB (H, W, 3) uint8, labels None if not given;
    `doubt` is in %, None where it is not told.
    """

    dump: str
    row: int
    image_id: str
    image: Picture
    mask: Picture
    overlay: Picture
    labels: Picture | None = None
    doubt: float | None = None


@dataclass(frozen=True)
class ClassShare:
    """One class of the legend: its colour (RGB, 0 to 255), name, share of all pixels in %, and
    the mean margin of its pixels in % (None where there are none).
    """

    id: int
    name: str
    colour: Colour
    share: float
    margin: float | None = None


@dataclass(frozen=True)
class TrainingCurves:
    """The head's training, one value per recorded step.

    Attributes:
        columns: name to (T,) array. Names: step, loss, and loss_ and mean_ followed by
            self, knn or rand; a missing column is not drawn.
        shifts: "self", "knn" or "rand" to the shift b of their term in the loss.
    """

    columns: Mapping[str, Floats]
    shifts: Mapping[str, float]


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix of one labelled dump.

    Attributes:
        dump: name of the dump.
        counts: (R, C) integer pixels of true class r that were predicted as c.
        true_names: R names.
        predicted_names: C names, matched classes first, in the order of the rows, then extra
            clusters.
        ious: (R,) IoU of every true class in %, nan where the class does not occur.
    """

    dump: str
    counts: NDArray[np.integer]
    true_names: Sequence[str]
    predicted_names: Sequence[str]
    ious: Floats


@dataclass(frozen=True)
class SeedFigure:
    """STEGO's seed figure: where three query points find their like.

    Attributes:
        image: the query image, (H, W, 3) uint8.
        points: three (row, col) in pixels of `image`: the blue, the red and the green query.
        heats: (picture (H, W, 3) uint8, heat (3, h, w) in [-1, 1]) per target: the query image
            itself first, then its nearest neighbours. Heat is cosine similarity per patch.
        captions: one per target.
    """

    image: Picture
    points: Sequence[tuple[float, float]]
    heats: Sequence[tuple[Picture, Floats]]
    captions: Sequence[str]


@dataclass(frozen=True)
class Timing:
    """How long one stage took; `items` counts `unit` ("images" or "rows"), dump None if all."""

    stage: str
    dump: str | None
    shards: int
    items: int
    unit: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """Everything that the page shows; a section without data says so in one sentence.

    `quarantine_total` is the true number of quarantined images where `quarantine` is cut off.
    `keys` maps a stage to the key of its folder. `inertias` has one value per k-means restart.
    `stability` maps K to how stable K clusters are, where the codes were asked for K, and
    `classes_chosen` is that K.
    """

    title: str
    workspace: str
    version: str
    backbone: Backbone
    keys: Mapping[str, str]
    dumps: Sequence[DumpCounts] = ()
    left_out: Sequence[LeftOut] = ()
    quarantine: Sequence[Quarantined] = ()
    quarantine_total: int | None = None
    classes: Sequence[ClassShare] = ()
    scores: Sequence[Scores] = ()
    gallery: Sequence[GalleryItem] = ()
    doubtful: Sequence[GalleryItem] = ()
    curves: TrainingCurves | None = None
    inertias: Sequence[float] = ()
    stability: Mapping[int, float] = field(default_factory=dict)
    classes_chosen: int = 0
    confusions: Sequence[Confusion] = ()
    seed: SeedFigure | None = None
    timings: Sequence[Timing] = ()


def render(report: Report) -> str:
    """The report as one self-contained HTML document, safe against hostile names.

    Raises:
        ValueError: a picture is not (H, W, 3) uint8, or parts of a figure differ in number.
    """
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            queries=QUERIES,
            quarantined=_quarantined(report),
            classes=sorted(report.classes, key=lambda each: -each.share),
            widest=max((each.share for each in report.classes), default=0.0) or 1.0,
            gallery=[(item, _gallery_pictures(item)) for item in report.gallery],
            doubtful=[(item, _gallery_pictures(item)) for item in report.doubtful],
            explorer=EXPLORER,
            seed=_seed_rows(report.seed) if report.seed else [],
            confusions=[(each.dump, _confusion_chart(each)) for each in report.confusions],
            curves=_curve_charts(report.curves) if report.curves else [],
            restarts=_restart_chart(report.inertias),
            numbers=charts.stability(report.stability, report.classes_chosen)
            if report.stability
            else None,
        )
    )
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
        linked=_linked, count=_count, percent=_percent, duration=_duration, rate=_rate
    )
    return environment


def _quarantined(report: Report) -> int:
    if report.quarantine_total is not None:
        return report.quarantine_total
    return max(len(report.quarantine), sum(each.quarantined for each in report.dumps))


def _gallery_pictures(item: GalleryItem) -> list[tuple[str, Embedded | None]]:
    name = f"{item.dump} / {item.image_id}"
    labels = None
    if item.labels is not None:
        labels = charts.mask(item.labels, f"Labels of {name}, coloured by class")
    return [
        ("image", charts.photo(item.image, f"Image {name}")),
        ("overlay", charts.photo(item.overlay, f"Classes of {name} over the image")),
        ("classes", charts.mask(item.mask, f"Classes of {name}, coloured by class")),
        ("labels", labels),
    ]


def _seed_rows(seed: SeedFigure) -> list[tuple[str, list[Embedded]]]:
    """One row per target: its caption, then the picture and its three heat maps."""
    colours = [colour for _, colour in QUERIES]
    rows: list[tuple[str, list[Embedded]]] = []
    for (picture, heats), caption in zip(seed.heats, seed.captions, strict=True):
        points = [None] * len(QUERIES) if rows else seed.points
        first = charts.photo(picture, f"{caption}: picture")
        if not rows:
            first = charts.marked(seed.image, seed.points, colours, f"{caption}: query points")
        maps = [
            charts.heat(picture, heat, colour, f"{caption}: like the {name} point", point)
            for heat, point, (name, colour) in zip(heats, points, QUERIES, strict=True)
        ]
        rows.append((caption, [first, *maps]))
    return rows


def _confusion_chart(each: Confusion) -> Embedded:
    alt = (
        f"Confusion matrix of dump {each.dump}, every row adding up to 100 %, "
        "and the IoU of every class"
    )
    return charts.confusion(each.counts, each.true_names, each.predicted_names, each.ious, alt)


def _curve_charts(curves: TrainingCurves) -> list[Embedded]:
    drawn = []
    for title, prefix in CURVES:
        lines = {
            name.removeprefix(f"{prefix}_") if name != prefix else "total": values
            for name, values in curves.columns.items()
            if (name == prefix or name.startswith(f"{prefix}_")) and len(values)
        }
        if lines:
            longest = max(map(len, lines.values()))
            steps = curves.columns.get("step", np.arange(longest, dtype=np.float64))
            drawn.append(charts.curves(title, steps, lines))
    return drawn


def _restart_chart(inertias: Sequence[float]) -> Embedded | None:
    return charts.restarts(inertias) if any(map(math.isfinite, inertias)) else None


def _linked(name: str) -> str:
    """A name as a part of a link's path."""
    return quote(name, safe="", errors="replace")


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
