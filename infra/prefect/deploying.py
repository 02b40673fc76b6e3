"""`make deploy`: bring the server up to date with the files, and leave what a person set."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from api import call, ensure, found
from automating import automate, notifier
from background import ROOT, ServiceError, say
from merging import Merged, merged
from record import Record

POOL = "stego"
LIMITS = {"gpu": 1}
"""Global concurrency limits: how many runs may hold each at once."""
OWN = ("entrypoint", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema")
"""What the code decides; nobody else can set it to something that works."""
SETTINGS = ("description", "tags", "concurrency_limit", "concurrency_options", "job_variables")
"""What prefect.yaml decides unless a person has changed it on the server."""
OUTDATED = ("STEGO_WORKSPACE", "STEGO_INBOX", "STEGO_IMAGES", "STEGO_CODE")
"""Environment variables that earlier versions of `make deploy` read."""


def ensure_pool(url: str) -> None:
    """A work pool of processes; the worker completes its template."""
    ensure(url, "/work_pools/", POOL, {"type": "process"})


def deploy(url: str, environment: dict[str, str]) -> None:
    """Pool, limits, deployments and automations; may be repeated.

    Everything is read and checked before anything is changed.

    Raises:
        ServiceError: the file or the server must be mended first.
    """
    if named := [name for name in OUTDATED if environment.get(name)]:
        raise ServiceError(
            f"{named[0]} is set and no longer read; write it into infra/deployment.toml, or into "
            "a file that STEGO_DEPLOYMENT names, and unset it"
        )
    file, path = read()
    wanted = [resolved(one) for one in documents(file.places())]
    block = notifier(url, file.notify.block)
    say(f"{path}: workspace {file.workspace}")
    ensure_pool(url)
    for name, limit in LIMITS.items():
        ensure(url, "/v2/concurrency_limits/", name, {"limit": limit})
    ids = {title(one): bring(url, one) for one in wanted}
    automate(url, file.retries, ids["retrain/on-drift"], block, POOL)


def read() -> tuple[Any, Path]:
    """The file of the deployment, checked, and where it lies."""
    from flows import deployment
    from stego_core.errors import OptionError

    try:
        return deployment.load(), deployment.path()
    except OptionError as error:
        raise ServiceError(str(error)) from None


def documents(places: dict[str, Any]) -> list[dict[str, Any]]:
    """The deployments of prefect.yaml with the file's values in their places."""
    from prefect.utilities.templating import apply_values

    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    filled: list[dict[str, Any]] = apply_values(
        [{**one, "pull_steps": document["pull"]} for one in document["deployments"]],
        {"file": places},
        warn_on_notset=False,
    )
    return filled


def resolved(one: dict[str, Any]) -> dict[str, Any]:
    """A deployment as Prefect's API takes it, its parameters checked by the flow itself.

    Raises:
        ServiceError: the flow refuses a parameter.
    """
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow = load_flow_from_entrypoint(one["entrypoint"])
    if said := refusal(flow, one["parameters"]):
        raise ServiceError(f"{flow.name}/{one['name']} refuses its parameters: {said}")
    limit = one["concurrency_limit"]
    return {
        "name": one["name"],
        "flow": flow,
        "parameters": one["parameters"],
        "schedules": one.get("schedules", []),
        "description": one["description"],
        "tags": one["tags"],
        "concurrency_limit": limit["limit"],
        "concurrency_options": {"collision_strategy": limit["collision_strategy"]},
        "job_variables": one["work_pool"]["job_variables"],
        "entrypoint": one["entrypoint"],
        "pull_steps": one["pull_steps"],
        "parameter_openapi_schema": parameter_schema(flow).model_dump(mode="json"),
        "enforce_parameter_schema": one["enforce_parameter_schema"],
    }


def refusal(flow: Any, parameters: dict[str, Any]) -> str | None:
    """Why a flow would not start with these parameters."""
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError

    from stego_core.errors import StegoError

    try:
        flow.validate_parameters(parameters)
    except (ParameterTypeError, SignatureMismatchError, StegoError) as error:
        return " ".join(str(error).split())
    return None


def title(one: dict[str, Any]) -> str:
    """FLOW/NAME."""
    return f"{one['flow'].name}/{one['name']}"


def bring(url: str, one: dict[str, Any]) -> str:
    """Create or update one deployment, tell what changed, and return its id."""
    record = Record(url, one["name"])
    held = found(url, f"/deployments/name/{quote(title(one))}")
    if held is None:
        identity = create(url, one)
        told = [f"created; {places(one['parameters'])}"]
        schedules = {each["slug"]: timing(each) for each in one["schedules"]}
    else:
        identity = held["id"]
        told = update(url, one, held, record)
        schedules = record.values.get("schedules", {})
        for each in one["schedules"]:
            schedules[each["slug"]] = reschedule(url, each, held, schedules, told)
    say("\n  ".join([f"{title(one)}: {told[0]}", *told[1:]]))
    settings = {key: one[key] for key in SETTINGS}
    record.write({"parameters": one["parameters"], "settings": settings, "schedules": schedules})
    return str(identity)


def create(url: str, one: dict[str, Any]) -> str:
    """A new deployment, with its schedules as prefect.yaml has them."""
    flow = call(url, "/flows/", {"name": one["flow"].name})["id"]
    schedules = [
        {"slug": each["slug"], "schedule": timing(each), "active": each["active"]}
        for each in one["schedules"]
    ]
    given = {key: value for key, value in one.items() if key != "flow"}
    body = {**given, "flow_id": flow, "work_pool_name": POOL, "schedules": schedules}
    return str(call(url, "/deployments/", body)["id"])


def update(url: str, one: dict[str, Any], held: dict[str, Any], record: Record) -> list[str]:
    """Write what differs; returns what to tell. Work queue, switch and pause are never touched."""
    now = {key: held[key] for key in SETTINGS}
    limit = held["global_concurrency_limit"]
    now["concurrency_limit"] = limit["limit"] if limit else None
    options = held["concurrency_options"] or {}
    now["concurrency_options"] = {k: v for k, v in options.items() if v is not None}
    wanted = {key: one[key] for key in SETTINGS}
    last = record.values
    settings = merged(wanted, last.get("settings", {}), now)
    given = merged(one["parameters"], last.get("parameters", {}), held["parameters"], True)
    if said := refusal(one["flow"], given.values):  # of a flow that took other parameters
        given = Merged(one["parameters"], [f"parameters anew, for those there: {said}"], [])
    body = {key: one[key] for key in OWN if one[key] != held[key]}
    changes = [*given.changes, *settings.changes, *(f"{key} is new" for key in body)]
    body |= {key: settings.values[key] for key in SETTINGS if settings.values.get(key) != now[key]}
    if given.changes:
        body["parameters"] = given.values
    if body:
        call(url, f"/deployments/{held['id']}", body, method="PATCH")
    told = ", ".join(changes) or "unchanged"
    kept = [f"kept, as set on the server: {text}" for text in [*given.kept, *settings.kept]]
    return [f"{told}; {places(given.values)}", *kept]


def places(parameters: dict[str, Any]) -> str:
    """What a deployment points to, in a few words."""
    options = parameters.get("options", {})
    corpus = parameters.get("corpus") or parameters
    compute = options.get("compute") or parameters.get("compute_options") or {}
    features = options.get("features") or {}
    shown = {
        "workspace": parameters["workspace"],
        "images": corpus.get("images"),
        "inbox": (parameters.get("inbox") or {}).get("inbox"),
        "backbone": features.get("backbone") or options.get("backbone"),
        "weights": features.get("weights") or options.get("weights"),
        "cluster": compute.get("cluster"),
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)


def timing(each: dict[str, Any]) -> dict[str, Any]:
    """When a schedule fires."""
    return {"cron": each["cron"], "timezone": each["timezone"]}


def reschedule(
    url: str,
    each: dict[str, Any],
    held: dict[str, Any],
    recorded: dict[str, Any],
    told: list[str],
) -> dict[str, Any]:
    """Change a schedule if the file changed and nobody else did; returns the file's for the record.

    The switch, other schedules, and one that somebody deleted stay as they are.
    """
    slug, wanted = each["slug"], timing(each)
    mine = next((one for one in held["schedules"] if one["slug"] == slug), None)
    others = [one for one in held["schedules"] if one is not mine]
    told += [f"schedule {shown(one)} is yours" for one in others]
    if mine is None:
        told.append(f"schedule {slug} was deleted by hand and stays so")
        return wanted
    now = {key: mine["schedule"].get(key) for key in wanted}
    if now["cron"] is None:
        told.append(f"kept, as set on the server: schedule {shown(mine)}")
        return wanted
    found = merged(wanted, recorded.get(slug, {}), now)
    if found.changes:
        body = {**mine, "schedule": {**mine["schedule"], **found.values}}
        keys = ("schedule", "active", "max_scheduled_runs", "parameters", "slug")
        place = f"/deployments/{held['id']}/schedules/{mine['id']}"
        call(url, place, {key: body[key] for key in keys}, method="PATCH")
        mine = body
    told.append(f"schedule {shown(mine)}" + "".join(f"; {text}" for text in found.changes))
    told += [f"kept, as set on the server: schedule {slug} {text}" for text in found.kept]
    return wanted


def shown(schedule: dict[str, Any]) -> str:
    """A schedule in a few words."""
    when = schedule["schedule"]
    text = when.get("cron") or when.get("rrule") or f"every {when.get('interval')} s"
    zone = f" {when['timezone']}" if when.get("timezone") else ""
    switch = "on" if schedule["active"] else "off"
    return f"{schedule['slug'] or schedule['id']} ({text}{zone}, {switch})"
