"""Whether there are enough images for the options, checked before any of them is embedded."""

from stego_core.errors import CapacityError
from tasks.options import LEAST_CLASSES, ClustersOptions, FeaturesOptions, NeighborsOptions

CROPS = {"five": 5, "whole": 1}
"""Feature rows of an image, by the option `crops`."""


def neighbors_problem(images: int, crops: int, k: int) -> str | None:
    """Why k neighbours are too many for so many images of so many crops; None if they are not."""
    most = max(images, crops)  # they lie in other images, or are the crops of the only one
    if k <= most:
        return None
    fits = f"--neighbors {most} at most" if most >= 2 else "--crops five and --neighbors 5 at most"
    return (
        f"{images} usable images are fewer than the {k} neighbours to store; give more images, or "
        f"{fits}"
    )


def classes_problem(rows: int, classes: int) -> str | None:
    """Why there are fewer crops than classes; None if there are not."""
    if classes <= rows:
        return None
    return (
        f"{rows} usable feature rows are fewer than the {classes} classes; give more images, or "
        f"--classes {rows} at most"
    )


def require_enough(
    images: int,
    features: FeaturesOptions,
    neighbors: NeighborsOptions,
    clusters: ClustersOptions,
) -> list[str]:
    """Refuse options that need more images than the dumps to train on have.

    Returns:
        remarks on what is possible but tells little.

    Raises:
        CapacityError: there are too few; says how many neighbours or classes would do.
    """
    used, crops = min(images, features.max_training_images), CROPS[features.crops]
    given = clusters.classes if isinstance(clusters.classes, int) else None
    least = given or LEAST_CLASSES  # `auto` makes fewer clusters of few crops
    problems = neighbors_problem(used, crops, neighbors.k), classes_problem(used * crops, least)
    if any(problems):
        raise CapacityError("; ".join(filter(None, problems)))
    most = min(clusters.max_classes, used * crops) if clusters.classes == "auto" else least
    if most > used:
        return [f"{most} classes are asked of {used} images, so some will be parts of one image"]
    return []
