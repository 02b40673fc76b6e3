"""How long stages take from how long their parts took: arithmetic alone, no clock."""

from dataclasses import asdict, dataclass, fields
from typing import Any

EXACT_ROWS = 32_768
"""More crops than these are searched through lists, and how long that takes was not measured."""


@dataclass(frozen=True)
class Rates:
    """Seconds of each piece of work on one core of this machine, the rest of it at rest.

    Attributes:
        start: until a process has imported what it needs; a run waits for it at its first stage.
        read: to fetch and decode an image.
        crop: of the backbone, for a training crop.
        pair: to compare two crops.
        shifts: to measure the loss's shifts, once.
        step: of the head's training.
        shifted: mean shift of a crop, once for each that training reads.
        codes: of a crop's patches.
        restart: a k-means run.
        image: of the backbone, for the mask of an image.
        pixel: CRF of a pixel, however many classes; `class_pixel`: what each class adds.
        pixels: of an image, on average.
        workers: processes that share the images.
    """

    start: float
    read: float
    crop: float
    pair: float
    shifts: float
    step: float
    shifted: float
    codes: float
    restart: float
    image: float
    pixel: float
    class_pixel: float
    pixels: float
    workers: int

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Rates":
        """From its document; a KeyError if something is missing."""
        return cls(**{field.name: document[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        images: that become masks; `sampled` of them are trained on, as `crops` crops each.
        labelled: that have a label and are scored beside the raw features' masks.
        spaces: in which k-means runs, `restarts` times each, for `classes` clusters.
    """

    images: int
    sampled: int
    crops: int
    labelled: int
    steps: int
    restarts: int
    spaces: int
    classes: int


def stage_seconds(rates: Rates, work: Work) -> dict[str, float | None]:
    """Seconds of each stage by its name, None where nobody knows."""
    crops = work.sampled * work.crops
    share = 1 / rates.workers
    pixel = rates.pixel + rates.class_pixel * work.classes
    image = 2 * rates.read + rates.image + pixel * rates.pixels
    masks, labelled = work.images * image * share, work.labelled / max(work.images, 1)
    return {
        "corpus": rates.start + work.images * rates.read * share,
        "features": (work.sampled * rates.read + crops * rates.crop) * share,
        "neighbors": crops**2 * rates.pair * share if crops < EXACT_ROWS else None,
        "head": rates.shifts + crops * rates.shifted + work.steps * rates.step,
        "codes": crops * rates.codes * share,
        "k-means": work.spaces * work.restarts * rates.restart * share,
        "clusters": rates.restart,
        "masks": masks,
        "masks (raw features)": masks * labelled,
        "scores": work.images * labelled * (2 * rates.read + rates.image) * share,
    }
