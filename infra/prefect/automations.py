"""The automations that `make deploy` creates: what the server does by itself about runs."""

from typing import Any

FLOWS = ["pipeline", "backfill", "retrain", "pretraining"]
"""The flows of the deployments; stages are flows of other names inside these."""
RUN = {"prefect.resource.id": "prefect.flow-run.*"}
OURS = {"prefect.resource.role": "flow", "prefect.resource.name": FLOWS}
EACH = {"for_each": ["prefect.resource.id"], "threshold": 1}
FINAL = ["Completed", "Failed", "Outage", "Crashed", "Cancelled", "Cancelling", "TimedOut"]
WAITING = ["Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Paused", "Suspended"]
CLAIMED = ["Pending", "Submitting", "InfrastructurePending"]
STARTED = ["Running", "Retrying"]
AGAIN = "try a run again"
TRANSIENT = ["Crashed", "Outage"]
"""What trying again may mend; flows.reporting.outage names the second."""


def events(*states: str) -> list[str]:
    """Events of runs that enter these states."""
    return [f"prefect.flow-run.{state}" for state in states]


def of_pool(pool: str) -> list[dict[str, Any]]:
    """Runs of our flows that a worker of the pool takes: those that can be started again."""
    return [OURS, {"prefect.resource.role": "work-pool", "prefect.resource.name": pool}]


def drifted(retrain: str) -> dict[str, Any]:
    """Start a retraining (the id of its deployment) where a dump drifted."""
    return {
        "name": "retrain on drift",
        "description": "A backfill found that its dump looks unlike what the head was trained on: "
        "start retrain/on-drift for that workspace. Switch it off to decide by hand.",
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": ["stego.drift"],
            "match": {"prefect.resource.id": "stego.workspace.*"},
            "within": 0,
            **EACH,
        },
        "actions": [
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": retrain,
                "parameters": {
                    "workspace": {
                        "__prefect_kind": "jinja",
                        "template": "{{ event.payload.workspace }}",
                    }
                },
            }
        ],
    }


def failed(block: str | None) -> dict[str, Any]:
    """Tell somebody that a run failed, through the notification block of that id."""
    notify = {
        "type": "send-notification",
        "block_document_id": block,
        "subject": "stego: {{ flow_run.name }} {{ flow_run.state.name }}",
        "body": "{{ flow.name }} run {{ flow_run.name }}: {{ flow_run.state.name }}. "
        "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
    }
    return {
        "name": "a run failed",
        "description": "Shows in the event feed that a run failed or crashed, and sends it to the "
        "notification block that deployment.toml names under [notify].",
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": events("Failed", "Outage", "Crashed", "TimedOut"),
            "match": RUN,
            "match_related": OURS,
            "within": 0,
            **EACH,
        },
        "actions": [notify if block else {"type": "do-nothing"}],
    }


def lost(seconds: int) -> dict[str, Any]:
    """Mark as crashed a run that has sent no heartbeat for so long, wherever it was."""
    return {
        "name": "a run lost its heartbeat",
        "description": "A run sends a heartbeat every 30 s. One that went silent is marked as "
        "crashed, so that it holds no concurrency slot for ever.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", *events(*FINAL, *WAITING)],
            "match": RUN,
            "match_related": OURS,
            "within": seconds,
            **EACH,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": f"It sent no heartbeat for {seconds} s: its process or machine is lost.",
            }
        ],
    }


def stuck(pool: str, seconds: int) -> dict[str, Any]:
    """Give a run that was claimed by a worker, and has not started for so long, to another."""
    return {
        "name": "a run never started",
        "description": "A worker claimed a run and did not start it: it is scheduled again.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "after": events(*CLAIMED),
            "expect": events(*STARTED, *FINAL, *WAITING),
            "match": RUN,
            "match_related": of_pool(pool),
            "within": seconds,
            **EACH,
        },
        "actions": [scheduled(f"It did not start within {seconds} s of its claim by a worker.")],
    }


def again(pool: str, times: int, delay: int) -> dict[str, Any]:
    """Start a run once more, `delay` seconds after it crashed or met an outage.

    A run that never began, for want of its code or its image, crashes too and is left alone, and
    so is one that failed for a reason that its user has to mend.
    """
    counts = [str(count) for count in range(1, times + 1)] or ["never"]
    return {
        "name": AGAIN,
        "description": f"A run that crashed, or that an outage ended, is started again after "
        f"{delay} s, {times} times at most; it computes what is missing.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "after": events(*TRANSIENT),
            "expect": events(*WAITING, *CLAIMED, *STARTED, "Completed", "Cancelled"),
            "match": {**RUN, "prefect.run-count": counts},
            "match_related": of_pool(pool),
            "within": delay,
            **EACH,
        },
        "actions": [scheduled(f"Tried again by itself, {times} times at most.")],
    }


def scheduled(message: str) -> dict[str, Any]:
    """The action that schedules a run for now; it computes what is missing."""
    return {
        "type": "change-flow-run-state",
        "state": "SCHEDULED",
        "name": "AwaitingRetry",
        "message": message,
    }
