"""Runs whose process is gone: given back to the workers, or closed with all that they began."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psutil
from api import call

GRACE_SECONDS = 60
"""A worker that claims a run has lines its name and started a process long before."""
UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]
LEFT = "The run that it belonged to ended, or is started again."
LOST = "Its process is gone: its worker or its machine was killed. Finished shards are kept."
UNSTARTED = "The worker that claimed it is gone, and it never started: given to another."
PAGE = 200


def close_lost(url: str, pool: str) -> list[str]:
    """Close what is provably lost; returns a line for each.

    A run that a worker of this machine took, and that has no process here, is marked as crashed,
    or scheduled again if it never started. So is one that is pending without a living worker,
    whatever its machine. Last, flow and task runs inside runs that have ended are closed.
    """
    lines = []
    if call(url, f"/work_pools/{pool}")["type"] == "process":
        runs = unfinished(url, {"work_pools": {"name": {"any_": [pool]}}})
        machine = Machine(url, pool)  # afterwards: of these runs, none has yet to start
        for run in runs:
            if (state := machine.verdict(run)) and unchanged(url, run):
                call(url, f"/flow_runs/{run['id']}/set_state", {"state": state, "force": False})
                lines.append(f"run {run['name']}: {state['message']}")
    return lines + close_orphans(url)


def unfinished(url: str, more: dict[str, Any]) -> list[dict[str, Any]]:
    """Flow runs that a process should be at work on."""
    query = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}, **more}
    return list(pages(url, "/flow_runs/filter", query))


def pages(url: str, path: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All that a filter finds."""
    offset = 0
    while page := call(url, path, {**query, "limit": PAGE, "offset": offset}):
        yield from page
        offset += PAGE


def unchanged(url: str, run: dict[str, Any]) -> bool:
    """Whether the run is still in the state that was judged: it may have ended meanwhile."""
    return bool(call(url, f"/flow_runs/{run['id']}")["state_id"] == run["state_id"])


class Machine:
    """What runs on this machine at one moment, and who serves the pool."""

    def __init__(self, url: str, pool: str) -> None:
        """Look at all processes, and at the pool's workers."""
        self.host = socket.gethostname()
        self.runs: set[str] = set()
        self.hidden: set[int] = set()
        self.workers: set[str] = set()
        for process in psutil.process_iter():
            self._look(process)
        known = call(url, f"/work_pools/{pool}/workers/filter", {})
        self.online = {
            one["name"]
            for one in known
            if one["name"] in self.workers
            or (one["status"] == "ONLINE" and not self.is_ours(one["name"]))
        }
        self.alone = all(self.is_ours(one["name"]) for one in known)

    def _look(self, process: psutil.Process) -> None:
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
    inside = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}}
    inside["flow_runs"]["parent_task_run_id"] = {"is_null_": False}
    children = list(pages(url, "/flow_runs/filter", inside))
    parents = parents_of(url, [child["parent_task_run_id"] for child in children])
    for child in children:
        parent = parents.get(child["parent_task_run_id"])
        if parent and ended(parent) and unchanged(url, child):
            close(url, "flow_runs", child["id"])
            lines.append(f"run {child['name']} of {parent['name']}: {LEFT}")
    tasks = {"task_runs": {"state": {"type": {"any_": UNFINISHED}}}}
    left = list(pages(url, "/task_runs/filter", tasks))
    holders = flow_runs(url, [task["flow_run_id"] for task in left if task["flow_run_id"]])
    for task in left:
        holder = holders.get(task["flow_run_id"])
        if holder and ended(holder):
            close(url, "task_runs", task["id"])
            lines.append(f"task {task['name']} of {holder['name']}: {LEFT}")
    return lines


def close(url: str, kind: str, identity: str) -> None:
    """Mark a flow run or a task run as crashed."""
    state = {"type": "CRASHED", "name": "Crashed", "message": LEFT}
    call(url, f"/{kind}/{identity}/set_state", {"state": state, "force": kind == "task_runs"})


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
