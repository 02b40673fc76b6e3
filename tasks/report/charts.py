"""Charts and pictures of the report, each one a data URI with its alt text and natural size."""

import base64
import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

Picture = NDArray[np.uint8]  # (H, W, 3), RGB
Floats = NDArray[np.floating]
Colour = tuple[int, int, int]  # RGB, 0 to 255

MAX_WIDTH, MAX_HEIGHT = 480, 960  # pixels of an embedded picture
PNG_DPI = 200
MAX_POINTS = 600  # of one line in a chart: more cannot be told apart on a screen
TERMS = {"self": "#0072B2", "knn": "#D55E00", "rand": "#009E73"}  # Okabe and Ito's palette
INK, QUIET, GRID = "#24292f", "#6b7280", "#e2e5e9"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
STYLE: "dict[RcKeyType, Any]" = {
    "svg.fonttype": "none",  # real text: any script renders, with the page's own fonts
    "svg.hashsalt": "stego-flows",  # the same data gives the same bytes
    "text.parse_math": False,  # a class may be called "$x"
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelcolor": QUIET,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
}
_STYLE_LOCK = threading.Lock()  # matplotlib's settings are global: one thread at a time


@dataclass(frozen=True)
class Embedded:
    """A picture as it stands in the page: data URI, alt text, natural size in CSS pixels."""

    uri: str
    alt: str
    width: int
    height: int


def photo(picture: Picture, alt: str) -> Embedded:
    """Shrinks an RGB picture (H, W, 3) uint8 to the page's size and embeds it as JPEG."""
    return _embed(_shrink(picture, Image.Resampling.LANCZOS), alt, "JPEG", quality=85)


def mask(picture: Picture, alt: str) -> Embedded:
    """Like `photo`, for flat class colours (H, W, 3) uint8: nearest pixel, lossless PNG."""
    return _embed(_shrink(picture, Image.Resampling.NEAREST), alt, "PNG", optimize=True)


def marked(
    picture: Picture, points: Sequence[tuple[float, float]], colours: Sequence[Colour], alt: str
) -> Embedded:
    """Embeds a picture with a dot in a white ring at every point (row, col), in its pixels."""
    image = np.asarray(_shrink(picture, Image.Resampling.LANCZOS))
    scale = image.shape[1] / picture.shape[1]
    for (row, col), colour in zip(points, colours, strict=True):
        image = _dot(image, row * scale, col * scale, colour)
    return _embed(Image.fromarray(image), alt, "JPEG", quality=88)


def heat(
    picture: Picture,
    values: Floats,
    colour: Colour,
    alt: str,
    point: tuple[float, float] | None = None,
) -> Embedded:
    """Blends positive correspondence over a greyscale picture.

    Args:
        picture: (H, W, 3) uint8.
        values: (h, w) cosine similarities in [-1, 1] at patch resolution; they are upsampled
            bilinearly. One is full colour, zero and below (or not a number) is no colour.
        colour: RGB of the query.
        alt: what the picture shows, in words.
        point: (row, col) in pixels of `picture` where the query lies, if it lies there.
    """
    grey = _shrink(picture, Image.Resampling.LANCZOS).convert("L")
    patches = np.nan_to_num(values).astype(np.float32)
    fine = np.asarray(Image.fromarray(patches).resize(grey.size, Image.Resampling.BILINEAR))
    weight = np.clip(fine, 0.0, 1.0)[..., None] ** 0.75  # faint likeness stays visible
    base = 0.6 * np.asarray(grey, dtype=np.float32)[..., None]
    blend = (1.0 - weight) * base + weight * np.asarray(colour, dtype=np.float32)
    image: Picture = blend.round().astype(np.uint8)
    if point is not None:
        scale = image.shape[1] / picture.shape[1]
        image = _dot(image, point[0] * scale, point[1] * scale, colour)
    return _embed(Image.fromarray(image), alt, "JPEG", quality=85)


def curves(title: str, steps: Floats, lines: Mapping[str, Floats]) -> Embedded:
    """Lines over training steps; a long one is drawn faint under its running mean.

    Args:
        title: heading inside the chart.
        steps: (T,) training steps.
        lines: term name ("self", "knn", "rand" or any other) to (T,) values.
    """
    with _figure(4.1, 2.8) as figure:
        axes = figure.add_subplot(title=title, xlabel="step")
        for name, values in lines.items():
            colour = TERMS.get(name, INK)
            x, y = _thin(steps), _thin(values)
            smooth = _running_mean(values)
            if smooth is not None:
                axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.25)
                y = _thin(smooth)
            axes.plot(x, y, color=colour, linewidth=1.7, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=5, handlelength=1.6, columnspacing=1.4)
        ends = ", ".join(f"{name} {values[-1]:.3g}" for name, values in lines.items())
        return _svg(figure, f"{title} over {len(steps)} records of training; last values: {ends}")


def restarts(inertias: Sequence[float]) -> Embedded:
    """One dot per k-means restart; the smallest inertia, which wins, is filled and named."""
    values = np.asarray(inertias, dtype=np.float64)
    best = int(np.nanargmin(values))
    with _figure(4.6, 2.8) as figure:
        axes = figure.add_subplot(title="Inertia of every restart", xlabel="restart")
        axes.axhline(values[best], color=TERMS["self"], linewidth=1, linestyle=(0, (4, 3)))
        axes.scatter(range(len(values)), values, s=30, facecolor="white", edgecolor=QUIET)
        axes.scatter([best], [values[best]], s=60, color=TERMS["self"], zorder=3)
        side = "left" if best < len(values) / 2 else "right"
        axes.annotate(
            f"kept: {values[best]:,.6g}",
            (best, values[best]),
            xytext=(0, -8),
            textcoords="offset points",
            ha=side,
            va="top",
            color=TERMS["self"],
            weight="bold",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.margins(y=0.3)
        axes.grid(axis="y")
        return _svg(
            figure,
            f"Inertia of {len(values)} k-means restarts; restart {best} wins "
            f"with {values[best]:,.6g}",
        )


def stability(curve: Mapping[int, float], chosen: int) -> Embedded:
    """Stability of the clusters over their number K; the K that was chosen is filled and named.

    Args:
        curve: stability in [0, 1] by K.
        chosen: a K of the curve.
    """
    numbers, values = list(curve), list(curve.values())
    with _figure(4.6, 2.8) as figure:
        axes = figure.add_subplot(title="How many classes", xlabel="K", ylabel="stability")
        axes.plot(numbers, values, color=QUIET, linewidth=1.2, marker="o", markersize=3.5)
        axes.scatter([chosen], [curve[chosen]], s=60, color=TERMS["self"], zorder=3)
        axes.annotate(
            f"chosen: {chosen}",
            (chosen, curve[chosen]),
            xytext=(6, 6),
            textcoords="offset points",
            color=TERMS["self"],
            weight="bold",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(0, 1.08)
        axes.grid(axis="y")
        return _svg(
            figure,
            f"Stability of k-means for K from {numbers[0]} to {numbers[-1]}; {chosen} was chosen "
            f"at {curve[chosen]:.2f}",
        )


def confusion(
    counts: NDArray[np.integer], rows: Sequence[str], columns: Sequence[str], ious: Floats, alt: str
) -> Embedded:
    """Heat map of a confusion matrix, every row normalised to 100 %, beside bars of IoU.

    Args:
        counts: (R, C) pixels of true class r that were predicted as c.
        rows: R names of true classes.
        columns: C names of predicted classes, extra clusters last.
        ious: (R,) IoU of every true class in %, nan where it is absent.
        alt: what the matrix belongs to, in words.
    """
    with _confusion_figure(counts, rows, columns, ious) as figure:
        return _svg(figure, alt, bbox_inches="tight", pad_inches=0.02)


def confusion_png(
    counts: NDArray[np.integer], rows: Sequence[str], columns: Sequence[str], ious: Floats
) -> bytes:
    """The figure of `confusion` as a PNG file on white."""
    buffer = io.BytesIO()
    with _confusion_figure(counts, rows, columns, ious) as figure:
        figure.savefig(buffer, format="png", dpi=PNG_DPI, bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()


@contextmanager
def _confusion_figure(
    counts: NDArray[np.integer], rows: Sequence[str], columns: Sequence[str], ious: Floats
) -> Iterator[Figure]:
    """Matrix and bars of `confusion`."""
    cell = 0.42 if len(columns) <= 12 else 0.24  # inches, like all sizes here
    width, height, bars = cell * len(columns), cell * len(rows), 2.3
    with _figure(width + 0.3 + bars, height, fit=False) as figure:
        matrix = _axes_at(figure, 0, 0, width, height)
        mesh = _draw_shares(matrix, 100.0 * counts / np.maximum(counts.sum(1, keepdims=True), 1))
        matrix.set_xticks(np.arange(len(columns)) + 0.5, _short(columns), rotation=90)
        matrix.set_yticks(np.arange(len(rows)) + 0.5, _short(rows))
        matrix.set_title("true class (row), predicted (column)")
        _draw_ious(_axes_at(figure, width + 0.3, 0, bars, height), ious)
        scale = _axes_at(figure, width + 0.3, -0.75, bars * 100 / 115, 0.1)
        key = figure.colorbar(mesh, cax=scale, orientation="horizontal", ticks=[0, 50, 100])
        key.set_label("pixels of the row, %")
        key.outline.set_visible(False)
        yield figure


def _axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, so that cells keep their size however many there are."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def _draw_shares(axes: Axes, shares: Floats) -> QuadMesh:
    """Cells of shares in %, first row on top; the numbers are written where there is room."""
    mesh = axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolor="white", lw=0.6)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, col in np.argwhere(shares >= 0.5) if shares.shape[1] <= 12 else ():
        share = shares[row, col]
        axes.text(
            col + 0.5,
            row + 0.5,
            f"{share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 55 else INK,
        )
    return mesh


def _draw_ious(axes: Axes, ious: Floats) -> None:
    """A bar per row of the matrix; a class that is absent has no bar."""
    axes.barh(np.arange(len(ious)) + 0.5, np.nan_to_num(ious), color=TERMS["self"], height=0.62)
    for place, iou in enumerate(map(float, ious)):
        text = f"{iou:.1f}" if np.isfinite(iou) else "absent"
        axes.text(np.nan_to_num(iou) + 2, place + 0.5, text, va="center", size=8, color=QUIET)
    axes.set(xlim=(0, 115), ylim=(len(ious), 0), xticks=[0, 50, 100], yticks=[])
    axes.set_title("IoU of the class, %")
    axes.grid(axis="x")


@contextmanager
def _figure(width: float, height: float, fit: bool = True) -> Iterator[Figure]:
    """An empty figure of this size in inches, in the report's style."""
    with _STYLE_LOCK, matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained" if fit else None)


def _svg(figure: Figure, alt: str, **options: Any) -> Embedded:
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing, **options)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, buffer.getvalue().decode())
    width, height = (
        round(float(points) * 96 / 72)
        for points in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
    )
    return Embedded(_uri("svg+xml", text.encode()), alt, width, height)


def _embed(image: Image.Image, alt: str, kind: str, **options: int) -> Embedded:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Embedded(_uri(kind.lower(), buffer.getvalue()), alt, image.width, image.height)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _shrink(picture: Picture, how: Image.Resampling) -> Image.Image:
    """An image of at most MAX_WIDTH by MAX_HEIGHT pixels; a small one is not enlarged."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"a picture is {picture.dtype} {picture.shape}, expected uint8 "
            "(height, width, 3): convert it to RGB before it goes into the report"
        )
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = min(1.0, MAX_WIDTH / image.width, MAX_HEIGHT / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, how)


def _dot(image: Picture, row: float, col: float, colour: Colour) -> Picture:
    """The image with a dot, ringed in white."""
    radius = max(3.0, image.shape[1] / 42)
    dotted = Image.fromarray(image)
    for size, fill in ((1.4 * radius, (255, 255, 255)), (radius, colour)):
        ImageDraw.Draw(dotted).circle((round(col), round(row)), round(size), fill)
    return np.asarray(dotted)


def _thin(values: Floats) -> Floats:
    """At most MAX_POINTS of the values, evenly spaced, first and last included."""
    if len(values) <= MAX_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, MAX_POINTS).round().astype(np.int64)]


def _running_mean(values: Floats) -> Floats | None:
    """Mean of the last 2 % of the records at every record; None where a line is short."""
    window = len(values) // 50
    if window < 2 or not np.isfinite(values).all():
        return None
    sums = np.convolve(values, np.ones(window))[: len(values)]
    return np.asarray(sums / np.minimum(np.arange(1, len(values) + 1), window))


def _short(names: Sequence[str], limit: int = 22) -> list[str]:
    """Names that fit an axis; unprintable characters would make the SVG unreadable."""
    clean = ["".join(c if c.isprintable() else "\ufffd" for c in name) for name in names]
    return [name if len(name) <= limit else name[: limit - 1] + "…" for name in clean]
