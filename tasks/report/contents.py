"""What the report shows, as data classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.clustering.silhouette import Minimum
from tasks.report.data_uris import Colour, Floats, Picture


@dataclass(frozen=True)
class ExampleImage:
    """One image of a dump's index and its mask; `uncertainty` is in %, None where not shown."""

    dump: str
    row: int
    image_id: str
    image: Picture
    mask: Picture
    overlay: Picture
    labels: Picture | None = None
    uncertainty: float | None = None


@dataclass(frozen=True)
class ClassShare:
    """One class of the legend; share of all pixels and mean margin of its own pixels are in %."""

    id: int
    name: str
    colour: Colour
    share: float
    margin: float | None = None


@dataclass(frozen=True)
class SuggestedGroup:
    """Classes that could be merged into the first; a picture of each where there is one."""

    members: Sequence[tuple[ClassShare, Picture | None]]


@dataclass(frozen=True)
class SuggestedMerges:
    """Which classes could be merged.

    Attributes:
        groups: those of two classes and more.
        count: groups that are left, those of one class included.
        why: there are so many.
        leaves: all classes that are shown.
        joins: (M, 4) of `stego_core.clustering.merges.ward` over the leaves.
    """

    groups: Sequence[SuggestedGroup]
    count: int
    why: str
    leaves: Sequence[ClassShare]
    joins: NDArray[np.float64]


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
        counts: (R, C) integer pixels of true class r that were predicted as c.
        predicted_names: matched classes first, in the order of the rows, then extra clusters.
        ious: (R,) IoU of every true class in %, nan where the class does not occur.
    """

    dump: str
    counts: NDArray[np.integer]
    true_names: Sequence[str]
    predicted_names: Sequence[str]
    ious: Floats


@dataclass(frozen=True)
class ComparedImage:
    """One image and its columns by their captions: label, PiCIE, STEGO where it was scored."""

    image_id: str
    image: Picture
    columns: Mapping[str, Picture]


@dataclass(frozen=True)
class Comparison:
    """Images of a dump that PiCIE is scored on; the legend has each class and its RGB."""

    dump: str
    legend: Sequence[tuple[str, Sequence[int]]]
    images: Sequence[ComparedImage]


@dataclass(frozen=True)
class SeedFigure:
    """STEGO's seed figure: three query points, and what resembles them.

    Attributes:
        points: three (row, col) in pixels of the first picture: the blue, red and green query.
        heats: (picture (H, W, 3) uint8, heat (3, h, w) in [-1, 1]) per target: the query image
            itself first, then its nearest neighbours. Heat is cosine similarity per patch.
    """

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

    Attributes:
        status: the document of `stego status`.
        examples: images spread evenly over the dumps.
        uncertain: the most uncertain images.
        inertias: one value per k-means restart.
        minima: of all restarts, where several spaces were clustered.
        restart: the number of the restart that was kept.
        merges: suggested ones, where there are any.
        compared: of each dump that PiCIE is scored on.
        listed, scored: dumps that the tables of dumps and of scores have; None for all.
        pages: addresses of the dumps' own pages, relative to the page, as far as there are some.
        lists: addresses of the lists of all dumps, where not all are listed.
        picie_start: name and note of the network that PiCIE started from; None without PiCIE.
    """

    title: str
    version: str
    status: Mapping[str, Any]
    classes: Sequence[ClassShare] = ()
    merges: SuggestedMerges | None = None
    examples: Sequence[ExampleImage] = ()
    uncertain: Sequence[ExampleImage] = ()
    curves: TrainingCurves | None = None
    inertias: Sequence[float] = ()
    minima: Sequence[Minimum] = ()
    restart: int = 0
    confusions: Sequence[Confusion] = ()
    compared: Sequence[Comparison] = ()
    picie_start: Mapping[str, str] | None = None
    seed: SeedFigure | None = None
    timings: Sequence[Timing] = ()
    listed: Sequence[str] | None = None
    scored: Sequence[str] | None = None
    pages: Mapping[str, str] = field(default_factory=dict)
    lists: Sequence[str] = ()


@dataclass(frozen=True)
class DumpReport:
    """A dump's own page.

    Attributes:
        facts: what the document of `stego status` says of it.
        revision: of the classes that it shows.
    """

    dump: str
    workspace: str
    version: str
    revision: int
    facts: Mapping[str, Any]
    scores: Mapping[str, Any] | None = None
    examples: Sequence[ExampleImage] = ()
    confusion: Confusion | None = None
    compared: Sequence[Comparison] = ()
    quarantine: Sequence[Mapping[str, str]] = ()
    timings: Sequence[Timing] = ()
