"""What is asked of Prefect's API over HTTP; importing Prefect for it would take seconds."""

import base64
import json
import os
import socket
from typing import Any
from urllib.request import Request, urlopen

LOST = "Its worker ended. Start the run again with the same parameters: finished shards are kept."


def call(url: str, path: str, body: Any = None, method: str | None = None) -> Any:
    """Ask the API; with a body it is a POST unless a method is given."""
    headers = {"Content-Type": "application/json"}
    if user := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url + path, data, headers, method=method), timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def healthy(url: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        return call(url, "/health") is True
    except (OSError, ValueError):
        return False


def workers(url: str, pool: str) -> list[str]:
    """Names of the pool's workers that the server has heard of."""
    return [one["name"] for one in call(url, f"/work_pools/{pool}/workers/filter", {})]


def close_lost(url: str, pool: str) -> None:
    """Mark as crashed what was running in processes of this machine that are gone.

    Their worker would have done so, but ended with them; the server never notices, and the
    next run of the deployment would wait for minutes. A run does not say on which machine it
    is: nothing is done for a pool that other machines have served too.
    """
    if not all(name.startswith(f"{socket.gethostname()}-") for name in workers(url, pool)):
        return
    unfinished = {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    wanted = {"flow_runs": unfinished, "work_pools": {"name": {"any_": [pool]}}}
    for run in call(url, "/flow_runs/filter", wanted):
        pid = run["infrastructure_pid"] or ""
        if pid.isdigit() and not alive(int(pid)):
            state = {"type": "CRASHED", "name": "Crashed", "message": LOST}
            call(url, f"/flow_runs/{run['id']}/set_state", {"state": state, "force": False})


def alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
