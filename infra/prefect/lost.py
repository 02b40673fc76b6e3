"""Runs whose process is gone, or whose end was missed: closed, or given back to the workers."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psutil
from automations import flow_names
from prefect_api import call

GRACE_SECONDS = 60
"""A worker that claims a run has registered its name and started a process long before."""
UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]
"""Types of the states of runs that a process should be at work on."""
UNFINISHED_STATE = {"state": {"type": {"any_": UNFINISHED}}}
"""The same as a filter of the API."""
LEFT = "The run that it belonged to ended, or is started again."
CRASHED = {"type": "CRASHED", "name": "Crashed", "message": LEFT}
LOST = "Its process is gone: its worker or its machine was killed. Finished shards are kept."
UNSTARTED = "The worker that claimed it is gone, and it never started: given to another."
FORGOTTEN = "Tried again by the worker's keeper: the event of its end was lost."
RETRY = "try a run again"
"""The automation that starts runs again."""
SLACK_SECONDS = 30
"""Given to that automation beyond its own delay."""
LONGEST_SECONDS = 24 * 3600
"""A run that ended longer ago is history, and a person's to start."""
PAGE = 200
"""Runs of one answer of the API."""


def close_lost(url: str, pool: str) -> list[str]:
    """Close what is provably lost; returns a line for each.

    A run that a worker of this machine took, and that has no process here, is marked as crashed,
    or scheduled again if it never started. So is one that is pending without a living worker,
    whatever its machine. Last, flow and task runs inside runs that have ended are closed.
    """
    lines = []
    if call(url, f"/work_pools/{pool}")["type"] == "process":
        query = {"flow_runs": UNFINISHED_STATE, "work_pools": {"name": {"any_": [pool]}}}
        runs = list(pages(url, "/flow_runs/filter", query))
        machine = Machine(url, pool)  # afterwards: of these runs, none has yet to start
        for run in runs:
            if state := machine.verdict(run):
                lines += set_state(url, run, state)
    return lines + close_orphans(url)


def set_state(url: str, run: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Set a run's state unless it changed since it was judged; a line on it if it was set."""
    if call(url, f"/flow_runs/{run['id']}")["state_id"] != run["state_id"]:
        return []
    call(url, f"/flow_runs/{run['id']}/set_state", {"state": state, "force": False})
    return [f"run {run['name']}: {state['message']}"]


def retry_forgotten(url: str, pool: str) -> list[str]:
    """Schedule the runs that the automation "try a run again" passed over; a line for each.

    On SQLite, Prefect gives an event up after four tries that met a locked database, and an
    automation that waits for it never acts. States are not lost, so they are looked at here. The
    automation itself says how often and how soon, and whether it is switched on.
    """
    automations = call(url, "/automations/filter", {"automations": {"name": {"any_": [RETRY]}}})
    if not automations or not automations[0]["enabled"]:
        return []
    states = [event.rpartition(".")[2] for event in automations[0]["trigger"]["after"]]
    query = {
        "flow_runs": {"state": {"name": {"any_": states}}},
        "flows": {"name": {"any_": flow_names()}},
        "work_pools": {"name": {"any_": [pool]}},
    }
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": FORGOTTEN}
    ended_runs = list(pages(url, "/flow_runs/filter", query))
    forgotten = [run for run in ended_runs if is_forgotten(run, automations[0])]
    return [line for run in forgotten for line in set_state(url, run, state)]


def is_forgotten(run: dict[str, Any], automation: dict[str, Any]) -> bool:
    """Whether the automation should have started a run again some time ago."""
    trigger, age = automation["trigger"], seconds_since(run["state"]["timestamp"])
    late = trigger["within"] + SLACK_SECONDS < age < LONGEST_SECONDS
    covered = str(run["run_count"]) in trigger["match"]["prefect.run-count"]
    return late and covered and age < seconds_since(automation["created"])


def pages(url: str, path: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every run that a filter matches."""
    offset = 0
    while page := call(url, path, {**query, "limit": PAGE, "offset": offset}):
        yield from page
        offset += PAGE


class Machine:
    """What runs on this machine at one moment, and who serves the pool."""

    def __init__(self, url: str, pool: str) -> None:
        """Look at all processes, and at the pool's workers."""
        self.host = socket.gethostname()
        self.runs: set[str] = set()
        self.hidden: set[int] = set()
        self.workers: set[str] = set()
        for process in psutil.process_iter():
            self._note(process)
        workers = call(url, f"/work_pools/{pool}/workers/filter", {})
        self.online = {
            worker["name"]
            for worker in workers
            if worker["name"] in self.workers
            or (worker["status"] == "ONLINE" and not self.is_ours(worker["name"]))
        }
        self.alone = all(self.is_ours(worker["name"]) for worker in workers)

    def _note(self, process: psutil.Process) -> None:
        """Note a run's process by its environment, a worker by its command."""
        try:
            command = process.cmdline()
            if "--name" in command[:-1]:
                self.workers.add(command[command.index("--name") + 1])
            run = process.environ().get("PREFECT__FLOW_RUN_ID")
            if run and process.status() != psutil.STATUS_ZOMBIE:
                self.runs.add(run)
        except psutil.AccessDenied:
            self.hidden.add(process.pid)  # another user's
        except psutil.Error:
            return  # it has just ended

    def is_ours(self, worker: str) -> bool:
        """Whether `make worker` of this machine gave a worker that name."""
        return worker.rpartition("-")[0] == self.host

    def has(self, run: dict[str, Any]) -> bool:
        """Whether the run has a process here."""
        pid = run["infrastructure_pid"] or ""
        return run["id"] in self.runs or (pid.isdigit() and int(pid) in self.hidden)

    def verdict(self, run: dict[str, Any]) -> dict[str, Any] | None:
        """The state of a run that is lost; None for one that may live."""
        worker = run["labels"].get("prefect.worker.name", "")
        if self.has(run) or worker in self.online:
            return None
        if run["state"]["type"] == "PENDING":
            recent = seconds_since(run["state"]["timestamp"]) < GRACE_SECONDS
            if recent and self.online:
                return None  # one of them may just be about to tell its name
            return {"type": "SCHEDULED", "name": "AwaitingRetry", "message": UNSTARTED}
        if self.is_ours(worker) or (not worker and self.alone):
            return {"type": "CRASHED", "name": "Crashed", "message": LOST}
        return None  # of another machine: its heartbeat tells


def seconds_since(moment: str) -> float:
    """Seconds since a time of the API."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def close_orphans(url: str) -> list[str]:
    """Mark as crashed the flow and task runs inside flow runs that are not under way any more."""
    lines = []
    inside = {**UNFINISHED_STATE, "parent_task_run_id": {"is_null_": False}}
    children = list(pages(url, "/flow_runs/filter", {"flow_runs": inside}))
    parents = parents_of(url, [child["parent_task_run_id"] for child in children])
    for child in children:
        parent = parents.get(child["parent_task_run_id"])
        if parent and ended(parent) and set_state(url, child, CRASHED):
            lines.append(f"run {child['name']} of {parent['name']}: {LEFT}")
    tasks = list(pages(url, "/task_runs/filter", {"task_runs": UNFINISHED_STATE}))
    holders = flow_runs(url, [task["flow_run_id"] for task in tasks if task["flow_run_id"]])
    for task in tasks:
        holder = holders.get(task["flow_run_id"])
        if holder and ended(holder):
            call(url, f"/task_runs/{task['id']}/set_state", {"state": CRASHED, "force": True})
            lines.append(f"task {task['name']} of {holder['name']}: {LEFT}")
    return lines


def ended(run: dict[str, Any]) -> bool:
    """Whether nothing of a flow run is under way: it was lost, or ended a while ago.

    The server hears of the end of task runs some seconds after that of their flow run.
    """
    if run["state"]["type"] in (*UNFINISHED, "PAUSED"):
        return False
    lost = run["state"]["type"] in ("CRASHED", "SCHEDULED")
    return lost or seconds_since(run["state"]["timestamp"]) > GRACE_SECONDS


def parents_of(url: str, tasks: list[str]) -> dict[str, dict[str, Any]]:
    """The flow run that each of these task runs belongs to."""
    query = {"task_runs": {"id": {"any_": tasks}}}
    known = list(pages(url, "/task_runs/filter", query)) if tasks else []
    runs = flow_runs(url, [task["flow_run_id"] for task in known])
    return {task["id"]: runs[task["flow_run_id"]] for task in known if task["flow_run_id"] in runs}


def flow_runs(url: str, identities: list[str]) -> dict[str, dict[str, Any]]:
    """Flow runs by their id."""
    if not identities:
        return {}
    query = {"flow_runs": {"id": {"any_": sorted(set(identities))}}}
    return {run["id"]: run for run in pages(url, "/flow_runs/filter", query)}
