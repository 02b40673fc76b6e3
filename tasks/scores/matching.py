"""Which class each cluster of a method counts as, and the figures under that matching."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stego_core.labels.void import VOID
from stego_core.scores import metrics
from tasks.scores.spread import two_digits


def matched(
    name: str, counts: NDArray[np.int64], classes: Sequence[str], names: Sequence[str] | None
) -> NDArray[np.int64]:
    """(clusters,) the class of each cluster of a method; taught ones are what they are called."""
    if name == "linear":
        return np.arange(len(classes))
    if names is None:
        return metrics.match(counts)
    numbers = {cls.casefold(): number for number, cls in enumerate(classes)}
    named = [numbers.get(each.casefold(), VOID) for each in names]
    return metrics.match_with_names(counts, np.array(named, np.int64))


def many_to_one(counts: NDArray[np.int64] | None) -> dict[str, float | None]:
    """Figures of STEGO's clusters, each as the class that most of its pixels have."""
    if counts is None:
        return dict.fromkeys(("many_accuracy", "many_miou"))
    return figures("many_", metrics.scores(counts, metrics.majority_match(counts)))


def figures(prefix: str, scores: metrics.Scores) -> dict[str, float | None]:
    """Accuracy and mIoU as the manifest names them."""
    return {
        f"{prefix}accuracy": two_digits(scores.accuracy),
        f"{prefix}miou": two_digits(scores.miou),
    }
