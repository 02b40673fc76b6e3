"""Runs that should have been tried again and were not: the server's event of their end was lost.

On SQLite, Prefect gives an event up after four tries that met a locked database, and an automation
that waits for it never acts. States are not lost, so they are looked at here.
"""

from typing import Any

from api import call
from automations import AGAIN, FLOWS, TRANSIENT
from lost import pages, seconds_since, unchanged

FORGOTTEN = "Tried again by the worker's keeper: the event of its end was lost."
SLACK_SECONDS = 30
"""What the automation is given beyond its own delay."""
LONGEST_SECONDS = 24 * 3600
"""A run that ended longer ago is history, and a person's to start."""


def retry_forgotten(url: str, pool: str) -> list[str]:
    """Schedule the runs that the automation "try a run again" passed over; a line for each.

    The automation itself says how often and how soon, and whether it is switched on.
    """
    automations = call(url, "/automations/filter", {"automations": {"name": {"any_": [AGAIN]}}})
    if not automations or not automations[0]["enabled"]:
        return []
    ended = {
        "flow_runs": {"state": {"name": {"any_": TRANSIENT}}},
        "flows": {"name": {"any_": FLOWS}},
        "work_pools": {"name": {"any_": [pool]}},
    }
    lines = []
    for run in list(pages(url, "/flow_runs/filter", ended)):
        if is_forgotten(run, automations[0]) and unchanged(url, run):
            state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": FORGOTTEN}
            call(url, f"/flow_runs/{run['id']}/set_state", {"state": state, "force": False})
            lines.append(f"run {run['name']}: {FORGOTTEN}")
    return lines


def is_forgotten(run: dict[str, Any], automation: dict[str, Any]) -> bool:
    """Whether the automation should have started a run again some time ago."""
    trigger, ended = automation["trigger"], run["state"]["timestamp"]
    age = seconds_since(ended)
    late = trigger["within"] + SLACK_SECONDS < age < LONGEST_SECONDS
    covered = str(run["run_count"]) in trigger["match"]["prefect.run-count"]
    return late and covered and age < seconds_since(automation["created"])
