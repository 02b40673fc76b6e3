"""Confusion matrices as people read them: clusters in the order of the classes they match."""

import numpy as np

from tasks.report.contents import Confusion
from tasks.workspace.summary import Summary


def confusion(summary: Summary, dump: str) -> Confusion | None:
    """A dump's confusion matrix, columns in the order of the matched classes; None without one."""
    scored = summary.scores(dump)
    if scored is None:
        return None
    matching, names = np.asarray(scored["matching"]["stego"]), scored["classes"]
    order = np.argsort(np.where(matching < 0, len(names), matching), kind="stable")
    predicted = [
        names[matching[c]] if matching[c] >= 0 else f"cluster {c} (unmatched)" for c in order
    ]
    counts = np.asarray(scored["confusion"]["stego"])[:, order]
    ious = np.array([scored["scores"]["per_class"][name] for name in names], np.float64)
    return Confusion(dump, counts, names, predicted, ious)
