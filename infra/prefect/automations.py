"""Create and update the automations of automations.yaml, without undoing what a person changed."""

import hashlib
import json
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from background import ServiceError, say
from merging import Record
from prefect_api import call, lookup

FILE = Path(__file__).with_name("automations.yaml")
ASSIGNED = ("id", "created", "updated", "account", "workspace", "enabled")
"""What the server adds, and the switch, which is the person's."""
RESET = "to have the new one, delete it and the variable stego_deployed_automations"
NOTIFICATION = {
    "type": "send-notification",
    "subject": "stego: {{ flow_run.name }} {{ flow_run.state.name }}",
    "body": "{{ flow.name }} run {{ flow_run.name }}: {{ flow_run.state.name }}. "
    "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
}


def notifier(url: str, name: str | None) -> str | None:
    """The id of a notification block of the server, by TYPE/NAME; ServiceError if it has none."""
    if name is None:
        return None
    kind, _, block = name.partition("/")
    document = lookup(url, f"/block_types/slug/{kind}/block_documents/name/{block}")
    if document is None:
        raise ServiceError(
            f"notify.block is {name!r}, and the server has no such block; create it on the page "
            "Blocks of its UI first"
        )
    return str(document["id"])


def flow_names() -> list[str]:
    """The flows of the deployments."""
    names: list[str] = yaml.safe_load(FILE.read_text())["ours"]["prefect.resource.name"]
    return names


def documents(retries: Any, retrain: str, block: str | None, pool: str) -> list[dict[str, Any]]:
    """The automations of the file with the values of a deployment: its table [retries], the ids
    of the deployment retrain/on-drift and of the notification block, the name of the work pool.
    """
    from prefect.utilities.templating import apply_values

    values = {
        **retries.model_dump(),
        "run_counts": [str(count) for count in range(1, retries.times + 1)] or ["never"],
        "retrain": retrain,
        "notify": {**NOTIFICATION, "block_document_id": block} if block else {"type": "do-nothing"},
        "pool": pool,
    }
    text = yaml.safe_load(FILE.read_text())["automations"]
    filled: list[dict[str, Any]] = apply_values(text, {"stego": values}, skip_prefixes=["event."])
    for trigger in (document["trigger"] for document in filled):
        lists = [[name] if isinstance(name, str) else name for name in trigger["expect"]]
        trigger["expect"] = [*chain.from_iterable(lists)]
    return filled


def automate(url: str, automations: list[dict[str, Any]]) -> None:
    """Bring every automation up to date.

    One that a person edited or deleted stays so, and the switch of each stays as it is.
    """
    record = Record(url, "automations")
    marks = dict(record.values)
    names = [one["name"] for one in automations]
    existing = call(url, "/automations/filter", {"automations": {"name": {"any_": names}}})
    by_name = {one["name"]: one for one in existing}
    for automation in automations:
        name = automation["name"]
        after, outcome = update(url, automation, by_name.get(name), marks.get(name))
        say(f"automation {name!r}: {outcome}")
        if after:
            record.write(marks := {**marks, name: after})


def update(
    url: str, document: dict[str, Any], now: dict[str, Any] | None, last: dict[str, str] | None
) -> tuple[dict[str, str] | None, str]:
    """Create or update one automation: the file's `document`, the server's `now`, and `last`, the
    marks of both at the last deploy. Returns the marks for the record, and what to say.
    """
    if now is None:
        if last:
            return last, f"was deleted by hand and stays so; {RESET}"
        created = call(url, "/automations/", {**document, "enabled": True})
        return {"file": mark(document), "server": mark(served(created))}, "created"
    switch = "on" if now["enabled"] else "off"
    edited = not last or last["server"] != mark(served(now))
    if last and last["file"] == mark(document):
        return last, f"unchanged ({switch}{', kept as edited on the server' if edited else ''})"
    if edited:
        return last, f"kept as it is on the server ({switch}); {RESET}"
    path = f"/automations/{now['id']}"
    call(url, path, {**document, "enabled": now["enabled"]}, method="PUT")
    return {"file": mark(document), "server": mark(served(call(url, path)))}, f"updated ({switch})"


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
