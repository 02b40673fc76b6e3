"""How far the scores of a dump differ from seed to seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.workspace.layout import SCORES
from tasks.workspace.workspace import Workspace


def spread_over_seeds(workspace: Workspace, dump: str, scored: Mapping[int, str]) -> dict[str, Any]:
    """How far a dump's figures differ from seed to seed, given the key of the scores of each seed.

    Returns:
        `seeds`, and for each figure its `mean`, `std` (of a sample; None for one seed), `least`
        and `greatest`, in percent; figures that were not measured are left out.
    """
    tables = [workspace.folder(SCORES, key, dump).manifest()["scores"] for key in scored.values()]
    figures = {}
    for name, first in tables[0].items():
        values = [table[name] for table in tables]
        if name == "per_class" or first is None or None in values:
            continue
        figures[name] = {
            "mean": two_digits(np.mean(values)),
            "std": two_digits(np.std(values, ddof=1)) if len(values) > 1 else None,
            "least": min(values),
            "greatest": max(values),
        }
    return {"seeds": list(scored), **figures}


def two_digits(value: float | np.floating) -> float | None:
    """A figure for a manifest; None where it is not a number."""
    return None if np.isnan(value) else round(float(value), 2)
