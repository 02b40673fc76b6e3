"""Confusion matrices as people read them: clusters in the order of the classes they match."""

import numpy as np

from tasks.report import page
from tasks.workspace.summary import Summary


def confusion(summary: Summary, dump: str) -> page.Confusion | None:
    """A dump's confusion matrix, columns in the order of the matched classes."""
    scored = summary.scores(dump)
    if scored is None:
        return None
    matching = np.asarray(scored["matching"]["stego"])
    names = scored["classes"]
    order = [*np.argsort(np.where(matching < 0, len(names), matching), kind="stable")]
    matrix = np.asarray(scored["confusion"]["stego"])[:, order]
    predicted = [
        names[matching[c]] if matching[c] >= 0 else f"cluster {c} (unmatched)" for c in order
    ]
    per_class = [scored["scores"]["per_class"][name] for name in names]
    ious = np.array([np.nan if iou is None else iou for iou in per_class])
    return page.Confusion(dump, matrix, names, predicted, ious)
