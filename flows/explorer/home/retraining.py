"""Training again: when the page suggests it, and on what it would be."""

from typing import Any

from stego_core.errors import StegoError
from tasks.workspace.summary import Summary, class_count
from tasks.workspace.workspace import Workspace


def suggestion(workspace: Workspace) -> dict[str, Any] | None:
    """What the page says where later images look unlike those that the classes were made from.

    Returns:
        `drifted`: of each dump whose drift is above a threshold `dump`, and `features` and
        `shares` as in `stego status`; `thresholds` of both; `dumps`: all that would be trained on;
        `classes`: how many there are now. None where nothing has drifted, or it cannot be read.
    """
    try:
        summary = Summary(workspace)
        measured = summary.last_run.get("drift", {})
        drifted = {dump: drift for dump, drift in measured.items() if drift["drifted"]}
        if not drifted:
            return None
        clusters = summary.whole("clusters")
        return {
            "drifted": [{"dump": dump, **_figures(drift)} for dump, drift in drifted.items()],
            "thresholds": _figures(next(iter(drifted.values()))["thresholds"]),
            "dumps": summary.dumps,
            "classes": class_count(clusters) if clusters else None,
        }
    except StegoError:
        return None


def _figures(drift: dict[str, Any]) -> dict[str, float | None]:
    return {name: drift[name] for name in ("features", "shares")}
