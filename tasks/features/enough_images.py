"""Whether there are enough images for what is asked, told before any of them is embedded."""

from stego_core.clustering import stability
from stego_core.errors import CapacityError
from tasks.options import ClustersOptions, FeaturesOptions, NeighborsOptions

CROPS = {"five": 5, "whole": 1}


def most_neighbors(images: int, crops: int) -> int:
    """The largest k: each crop's neighbours lie in other images, or are the crops of the only one.

    Args:
        images: that can be used.
        crops: of each image.
    """
    return max(images, crops)


def neighbors_problem(images: int, crops: int, k: int) -> str | None:
    """Why k neighbours are too many; None if they are not."""
    most = most_neighbors(images, crops)
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
    """Refuse what so many images cannot give.

    Args:
        images: that are indexed, of all dumps to train on.
        features: how many of them are used, and how many crops each has.
        neighbors: k.
        clusters: K, settled.

    Returns:
        sentences about what is possible but says little.

    Raises:
        CapacityError: there are too few; says how many neighbours or classes would do.
    """
    used, crops = min(images, features.max_training_images), CROPS[features.crops]
    classes = stability.LEAST if clusters.classes in ("auto", None) else clusters.classes
    assert isinstance(classes, int)  # `auto` asks for the fewest
    problems = [
        neighbors_problem(used, crops, neighbors.k),
        classes_problem(used * crops, classes),
    ]
    found = [problem for problem in problems if problem]
    if found:
        raise CapacityError("; ".join(found))
    if classes > used:
        return [f"{classes} classes are asked of {used} images, so some will be parts of one image"]
    return []
