"""Create and update the automations, without undoing what a person did to them."""

import hashlib
import json
from typing import Any

import automations
from api import call
from api import found as lookup
from background import ServiceError, say
from record import Record

ASSIGNED = ("id", "created", "updated", "account", "workspace", "enabled")
"""What the server adds, and the switch, which is the person's."""
RESET = "to have the new one, delete it and the variable stego_deployed_automations"


def notifier(url: str, name: str | None) -> str | None:
    """The id of a notification block of the server, by TYPE/NAME.

    Raises:
        ServiceError: the server has none of that name.
    """
    if name is None:
        return None
    kind, _, block = name.partition("/")
    held = lookup(url, f"/block_types/slug/{kind}/block_documents/name/{block}")
    if held is None:
        raise ServiceError(
            f"notify.block is {name!r}, and the server has no such block; create it on the page "
            "Blocks of its UI first"
        )
    return str(held["id"])


def automate(url: str, retries: Any, retrain: str, block: str | None, pool: str) -> None:
    """Bring every automation up to date.

    One that a person edited or deleted stays so, and the switch of each stays as it is.
    """
    wanted = [
        automations.drifted(retrain),
        automations.failed(block),
        automations.lost(retries.lost_seconds),
        automations.stuck(pool, retries.pending_seconds),
        automations.again(pool, retries.times, retries.delay_seconds),
    ]
    record = Record(url, "automations")
    marks = dict(record.values)
    names = [one["name"] for one in wanted]
    held = call(url, "/automations/filter", {"automations": {"name": {"any_": names}}})
    there = {one["name"]: one for one in held}
    for one in wanted:
        name = one["name"]
        found, told = brought(url, one, there.get(name), marks.get(name))
        say(f"automation {name!r}: {told}")
        if found:
            record.write(marks := {**marks, name: found})


def brought(
    url: str, one: dict[str, Any], held: dict[str, Any] | None, last: dict[str, str] | None
) -> tuple[dict[str, str] | None, str]:
    """Marks of what the files want and of what the server made of it, and what to tell."""
    mine = mark(one)
    if held is None:
        if last:
            return last, f"was deleted by hand and stays so; {RESET}"
        made = call(url, "/automations/", {**one, "enabled": True})
        return {"file": mine, "server": mark(served(made))}, "created"
    switch = "on" if held["enabled"] else "off"
    theirs = not last or last["server"] != mark(served(held))
    if last and last["file"] == mine:
        return last, f"unchanged ({switch}{', kept as edited on the server' if theirs else ''})"
    if theirs:
        return last, f"kept as it is on the server ({switch}); {RESET}"
    call(url, f"/automations/{held['id']}", {**one, "enabled": held["enabled"]}, method="PUT")
    made = call(url, f"/automations/{held['id']}")
    return {"file": mine, "server": mark(served(made))}, f"updated ({switch})"


def served(automation: dict[str, Any]) -> dict[str, Any]:
    """What a person may have edited."""
    kept = {key: value for key, value in automation.items() if key not in ASSIGNED}
    kept["trigger"] = {k: v for k, v in automation["trigger"].items() if k != "id"}
    return kept


def mark(automation: dict[str, Any]) -> str:
    """A short digest, whatever the order of the texts in a list: Prefect keeps sets of them."""
    text = json.dumps(ordered(automation), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ordered(value: Any) -> Any:
    """The same with every list of texts sorted."""
    if isinstance(value, dict):
        return {key: ordered(each) for key, each in value.items()}
    if isinstance(value, list):
        items = [ordered(each) for each in value]
        return sorted(items) if all(isinstance(each, str) for each in items) else items
    return value
