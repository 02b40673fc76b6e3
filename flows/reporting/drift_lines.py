"""What is said of a dump's drift: the numbers, what they mean, and what to do."""

from collections.abc import Collection, Iterator
from typing import Any


def drift_lines(
    document: dict[str, Any], dumps: Collection[str] | None = None
) -> Iterator[tuple[str, bool]]:
    """A line for each of some dumps, by default of all, whose drift was measured, and whether it
    has drifted; `document` is that of `stego status`.
    """
    for dump, counts in document["dumps"].items():
        drift = counts["drift"]
        if drift is not None and (dumps is None or dump in dumps):
            yield f"drift {dump}: {drift_sentence(drift, document['workspace'])}", drift["drifted"]


def drift_sentence(drift: dict[str, Any], workspace: str) -> str:
    """The numbers of a drift, the verdict, and the command to give where the dump has drifted."""
    numbers = ", ".join(
        f"{name} {'–' if drift[name] is None else f'{drift[name]:.2f}'} "
        f"(threshold {drift['thresholds'][name]})"
        for name in ("features", "shares")
    )
    if drift["drifted"]:
        return (
            f"{numbers}; unlike the training images, so look at its overlays and train again "
            f"with it: stego retrain --workspace {workspace}"
        )
    if drift.get("judged", True):
        return f"{numbers}; like the training images"
    return f"{numbers}; too few images to judge, fewer than {drift['thresholds']['fewest_images']}"
