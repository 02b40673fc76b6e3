"""Confusion matrices as people read them: clusters in the order of the classes they match."""

import numpy as np

from stego_core.scores import metrics
from tasks.report.contents import Confusion
from tasks.workspace.summary import Summary


def confusion(summary: Summary, dump: str, method: str = "stego") -> Confusion | None:
    """A dump's confusion matrix, columns in the order of the matched classes; None without one.

    `method` is "stego" or "picie".
    """
    scored = summary.scores(dump)
    if scored is None or method not in scored["confusion"]:
        return None
    matching, names = np.asarray(scored["matching"][method]), scored["classes"]
    order = np.argsort(np.where(matching < 0, len(names), matching), kind="stable")
    predicted = [
        names[matching[c]] if matching[c] >= 0 else f"cluster {c} (unmatched)" for c in order
    ]
    counts = np.asarray(scored["confusion"][method])
    ious = metrics.scores(counts, matching).per_class.round(2)
    return Confusion(dump, counts[:, order], names, predicted, ious)
