"""Charts of the report, each one an SVG picture with its alt text."""

import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stego_core.clustering.silhouette import NEAR, Minimum
from tasks.report.contents import Confusion, SuggestedMerges
from tasks.report.data_uris import Embedded, Floats, data_uri

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

MAX_POINTS = 600
"""Points of one line in a chart: more cannot be told apart on a screen."""
PNG_DPI = 200
"""Resolution of figures that are files of their own."""
TERMS = {"self": "#0072B2", "knn": "#D55E00", "rand": "#009E73"}
"""Colours of the loss's terms, from Okabe and Ito's palette."""
SPACES = (*TERMS.values(), "#CC79A7")
"""Colours of the spaces that k-means clusters, from the same."""
ACCENT = TERMS["self"]
"""Colour of what a chart is about."""
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


def curves(title: str, steps: Floats, lines: Mapping[str, Floats]) -> Embedded:
    """Lines (T,) over training steps (T,), by term; a long one is faint under its running mean."""
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
    """One dot per k-means restart; the one with the smallest inertia is filled and labelled."""
    values = np.asarray(inertias, dtype=np.float64)
    best = int(np.nanargmin(values))
    with _figure(4.6, 2.8) as figure:
        axes = figure.add_subplot(title="Inertia of every restart", xlabel="restart")
        axes.axhline(values[best], color=ACCENT, linewidth=1, linestyle=(0, (4, 3)))
        axes.scatter(range(len(values)), values, s=30, facecolor="white", edgecolor=QUIET)
        side = "left" if best < len(values) / 2 else "right"
        text = f"kept: {values[best]:,.6g}"
        _mark(axes, (best, values[best]), text, xytext=(0, -8), ha=side, va="top")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.margins(y=0.3)
        return _svg(
            figure,
            f"Inertia of {len(values)} k-means restarts; restart {best} is the best "
            f"with {values[best]:,.6g}",
        )


def minima(candidates: Sequence[Minimum], best: int) -> Embedded:
    """One dot per k-means restart: inertia above the lowest of its space, and the silhouette."""
    by_space: dict[str, list[Minimum]] = {}
    for candidate in candidates:
        by_space.setdefault(candidate.space, []).append(candidate)
    lowest = {space: min(m.inertia for m in rows) for space, rows in by_space.items()}

    def position(minimum: Minimum) -> tuple[float, float]:
        above = 100 * (minimum.inertia / max(lowest[minimum.space], 1e-12) - 1)
        return above, minimum.silhouette

    with _figure(4.6, 3.1) as figure:
        axes = figure.add_subplot(
            title="Where restarts ended", xlabel="inertia above the lowest, %", ylabel="silhouette"
        )
        colours = dict(zip(by_space, SPACES, strict=False))
        for space, rows in by_space.items():
            above, silhouettes = zip(*map(position, rows), strict=True)
            axes.scatter(above, silhouettes, s=24, color=colours[space], label=space)
        axes.axvline(100 * NEAR, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        kept = candidates[best]
        text, colour = f"kept: {kept.silhouette:.3f}", colours[kept.space]
        _mark(axes, position(kept), text, colour, xytext=(8, 6), va="bottom")
        axes.margins(0.12, 0.2)
        figure.legend(loc="outside lower center", ncols=2, handlelength=1, columnspacing=1.2)
        return _svg(
            figure,
            f"{len(candidates)} k-means restarts in {len(by_space)} spaces; restart {best} is "
            f"kept, of {kept.space}, with a silhouette of {kept.silhouette:.3f}",
        )


def hierarchy(merges: SuggestedMerges) -> Embedded:
    """Ward's hierarchy as a tree: the suggested joins in colour, the classes' names beside it."""
    leaves, joins = merges.leaves, merges.joins
    lines = {number: [number] for number in range(len(leaves))}
    for node, (a, b) in enumerate(joins[:, :2].astype(int).tolist(), len(leaves)):
        lines[node] = lines.pop(a) + lines.pop(b)
    order = [number for members in lines.values() for number in members]
    ends = {number: (0.0, float(at)) for at, number in enumerate(order)}
    with _figure(6.4, 0.7 + 0.19 * len(leaves)) as figure:
        axes = figure.add_subplot(
            title="Which classes are alike", xlabel="√ of what the merge costs"
        )
        for node, (a, b, height, _) in enumerate(joins.tolist(), len(leaves)):
            (x_a, y_a), (x_b, y_b) = ends[int(a)], ends[int(b)]
            colour = ACCENT if node < 2 * len(leaves) - merges.count else "#b6bcc6"
            axes.plot((x_a, height, height, x_b), (y_a, y_a, y_b, y_b), color=colour, linewidth=1.3)
            ends[node] = height, (y_a + y_b) / 2
        colours = [np.array(leaves[number].colour) / 255 for number in order]
        axes.scatter(np.zeros(len(order)), range(len(order)), s=34, marker="s", c=colours, zorder=3)
        axes.set_yticks(range(len(order)), _short([leaves[number].name for number in order]))
        axes.set(xlim=(-0.01, None), ylim=(len(order) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        axes.spines.left.set_visible(False)
        alt = f"Hierarchy of {len(leaves)} classes; the joins to {merges.count} groups are coloured"
        return _svg(figure, alt)


def _mark(
    axes: Axes, point: tuple[float, float], text: str, colour: str = ACCENT, **options: Any
) -> None:
    """Fill and label the point that a chart is about; its x axis counts whole numbers."""
    axes.scatter(*point, s=60, color=colour, zorder=3)
    axes.annotate(text, point, textcoords="offset points", color=colour, weight="bold", **options)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")


def confusion(matrix: Confusion) -> Embedded:
    """Heat map of a confusion matrix, every row normalised to 100 %, beside bars of IoU."""
    alt = (
        f"Confusion matrix of dump {matrix.dump}, every row adding up to 100 %, "
        "and the IoU of every class"
    )
    with _confusion_figure(matrix) as figure:
        return _svg(figure, alt, bbox_inches="tight", pad_inches=0.02)


def confusion_png(matrix: Confusion) -> bytes:
    """The figure of `confusion` as a PNG file on white."""
    buffer = io.BytesIO()
    with _confusion_figure(matrix) as figure:
        figure.savefig(buffer, format="png", dpi=PNG_DPI, bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()


@contextmanager
def _confusion_figure(matrix: Confusion) -> Iterator[Figure]:
    """Matrix and bars of `confusion`; all sizes are inches."""
    rows, columns, counts = matrix.true_names, matrix.predicted_names, matrix.counts
    cell = 0.42 if len(columns) <= 12 else 0.24
    width, height, bars = cell * len(columns), cell * len(rows), 2.3
    with _figure(width + 0.3 + bars, height, fit=False) as figure:
        axes = _axes_at(figure, 0, 0, width, height)
        mesh = _draw_shares(axes, 100.0 * counts / np.maximum(counts.sum(1, keepdims=True), 1))
        axes.set_xticks(np.arange(len(columns)) + 0.5, _short(columns), rotation=90)
        axes.set_yticks(np.arange(len(rows)) + 0.5, _short(rows))
        axes.set_title("true class (row), predicted (column)")
        _draw_ious(_axes_at(figure, width + 0.3, 0, bars, height), matrix.ious)
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
        share, x, y = shares[row, col], col + 0.5, row + 0.5
        colour = "white" if share > 55 else INK
        axes.text(x, y, f"{share:.0f}", size=8, color=colour, ha="center", va="center")
    return mesh


def _draw_ious(axes: Axes, ious: Floats) -> None:
    """A bar per row of the matrix; a class that is absent has no bar."""
    axes.barh(np.arange(len(ious)) + 0.5, np.nan_to_num(ious), color=ACCENT, height=0.62)
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
    return Embedded(data_uri("svg+xml", text.encode()), alt, width, height)


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
