"""`make deploy`: bring the server up to date with the files, and leave what a person set."""

from typing import Any
from urllib.parse import quote

import automations
import yaml
from background import ROOT, ServiceError, say
from merging import Merged, Record, merged
from prefect_api import call, ensure, lookup

POOL = "stego"
LIMITS = {"gpu": 1}
"""Global concurrency limits: how many runs may hold each at once."""
CODE_SETTINGS = (
    *("entrypoint", "pull_steps"),
    *("parameter_openapi_schema", "enforce_parameter_schema"),
)
"""What the code decides; nobody else can set it to something that works."""
SETTINGS = ("description", "tags", "concurrency_limit", "concurrency_options", "job_variables")
"""What prefect.yaml decides unless a person has changed it on the server."""
EDITABLE = ("schedule", "active", "max_scheduled_runs", "parameters", "slug")
"""What a change of a schedule sends back."""
KEPT = "kept, as set on the server: "
OUTDATED = ("STEGO_WORKSPACE", "STEGO_INBOX", "STEGO_IMAGES", "STEGO_CODE")
"""Environment variables that earlier versions of `make deploy` read."""


def ensure_pool(url: str) -> None:
    """A work pool of processes; the worker completes its template."""
    ensure(url, "/work_pools/", POOL, {"type": "process"})


def deploy(url: str, environment: dict[str, str]) -> None:
    """Pool, limits, deployments and automations; may be repeated. Everything is read and checked,
    with a ServiceError for what must be mended first, before anything is changed.
    """
    from flows.runs import deployment_file
    from stego_core.errors import OptionError

    if outdated := [name for name in OUTDATED if environment.get(name)]:
        raise ServiceError(
            f"{outdated[0]} is set and no longer read; write it into infra/deployment.toml, or "
            "into a file that STEGO_DEPLOYMENT names, and unset it"
        )
    try:
        file = deployment_file.load()
    except OptionError as error:
        raise ServiceError(str(error)) from None
    deployments = [resolved(one) for one in documents(file.places())]
    block = automations.notifier(url, file.notify.block)
    say(f"{deployment_file.path()}: workspace {file.workspace}")
    ensure_pool(url)
    for name, limit in LIMITS.items():
        ensure(url, "/v2/concurrency_limits/", name, {"limit": limit})
    ids = {title(one): create_or_update(url, one) for one in deployments}
    retrain = ids["retrain/on-drift"]
    automations.automate(url, automations.documents(file.retries, retrain, block, POOL))


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
    """A deployment as Prefect's API takes it; ServiceError if its flow refuses a parameter."""
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow = load_flow_from_entrypoint(one["entrypoint"])
    if reason := refusal(flow, one["parameters"]):
        raise ServiceError(f"{flow.name}/{one['name']} refuses its parameters: {reason}")
    limit, pool = one["concurrency_limit"], one["work_pool"]
    return {
        **{name: value for name, value in one.items() if name != "work_pool"},
        "flow": flow,
        "schedules": one.get("schedules", []),
        "concurrency_limit": limit["limit"],
        "concurrency_options": {"collision_strategy": limit["collision_strategy"]},
        "job_variables": pool["job_variables"],
        "parameter_openapi_schema": parameter_schema(flow).model_dump(mode="json"),
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


def create_or_update(url: str, one: dict[str, Any]) -> str:
    """Create or update one deployment, say what changed, and return its id."""
    record = Record(url, one["name"])
    now = lookup(url, f"/deployments/name/{quote(title(one))}")
    if now is None:
        identity = create(url, one)
        lines = [f"created; {places(one['parameters'])}"]
        schedules = {}
    else:
        identity = now["id"]
        lines = update(url, one, now, record)
        schedules = record.values.get("schedules", {})
        for schedule in one["schedules"]:
            lines += reschedule(url, schedule, now, schedules.get(schedule["slug"], {}))
    schedules = schedules | {each["slug"]: timing(each) for each in one["schedules"]}
    say("\n  ".join([f"{title(one)}: {lines[0]}", *lines[1:]]))
    settings = {key: one[key] for key in SETTINGS}
    record.write({"parameters": one["parameters"], "settings": settings, "schedules": schedules})
    return str(identity)


def create(url: str, one: dict[str, Any]) -> str:
    """A new deployment, with its schedules as prefect.yaml has them."""
    flow = call(url, "/flows/", {"name": one["flow"].name})["id"]
    schedules = [
        {"slug": schedule["slug"], "schedule": timing(schedule), "active": schedule["active"]}
        for schedule in one["schedules"]
    ]
    settings = {key: value for key, value in one.items() if key != "flow"}
    body = {**settings, "flow_id": flow, "work_pool_name": POOL, "schedules": schedules}
    return str(call(url, "/deployments/", body)["id"])


def update(url: str, one: dict[str, Any], now: dict[str, Any], record: Record) -> list[str]:
    """Write what differs; returns what to say. Work queue, switch and pause are never touched."""
    last, before = record.values, current(now)
    settings = merged({key: one[key] for key in SETTINGS}, last.get("settings", {}), before)
    parameters = merged(one["parameters"], last.get("parameters", {}), now["parameters"], True)
    if reason := refusal(one["flow"], parameters.values):  # of a flow that took other parameters
        anew = f"parameters anew, for those there: {reason}"
        parameters = Merged(one["parameters"], [anew], [])
    body = {key: one[key] for key in CODE_SETTINGS if one[key] != now[key]}
    changes = [*parameters.changes, *settings.changes, *(f"{key} is new" for key in body)]
    values = {key: settings.values.get(key) for key in SETTINGS}
    body |= {key: value for key, value in values.items() if value != before[key]}
    if parameters.changes:
        body["parameters"] = parameters.values
    if body:
        call(url, f"/deployments/{now['id']}", body, method="PATCH")
    first = ", ".join(changes) or "unchanged"
    kept = [*parameters.kept, *settings.kept]
    return [f"{first}; {places(parameters.values)}", *(f"{KEPT}{text}" for text in kept)]


def current(now: dict[str, Any]) -> dict[str, Any]:
    """The settings of a deployment of the server, in the form that the files have."""
    limit, options = now["global_concurrency_limit"], now["concurrency_options"] or {}
    return {
        **{key: now[key] for key in SETTINGS},
        "concurrency_limit": limit["limit"] if limit else None,
        "concurrency_options": {k: v for k, v in options.items() if v is not None},
    }


def places(parameters: dict[str, Any]) -> str:
    """What a deployment points to, in a few words."""
    options = parameters.get("options", {})
    corpus = parameters.get("corpus") or parameters
    compute = options.get("compute") or parameters.get("compute_options") or {}
    features = options.get("features") or {}
    values = {
        "workspace": parameters["workspace"],
        "images": corpus.get("images"),
        "inbox": (parameters.get("inbox") or {}).get("inbox"),
        "backbone": features.get("backbone") or options.get("backbone"),
        "weights": features.get("weights") or options.get("weights"),
        "cluster": compute.get("cluster"),
    }
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def timing(schedule: dict[str, Any]) -> dict[str, Any]:
    """When a schedule fires."""
    return {"cron": schedule["cron"], "timezone": schedule["timezone"]}


def reschedule(
    url: str, schedule: dict[str, Any], now: dict[str, Any], last: dict[str, Any]
) -> list[str]:
    """Change a schedule if the file changed and nobody else did; returns what to say.

    The switch, other schedules, and one that somebody deleted stay as they are.
    """
    slug = schedule["slug"]
    ours = next((one for one in now["schedules"] if one["slug"] == slug), None)
    lines = [f"schedule {brief(one)} is yours" for one in now["schedules"] if one is not ours]
    if ours is None:
        return [*lines, f"schedule {slug} was deleted by hand and stays so"]
    before = {key: ours["schedule"].get(key) for key in timing(schedule)}
    if before["cron"] is None:
        return [*lines, f"{KEPT}schedule {brief(ours)}"]
    merge = merged(timing(schedule), last, before)
    if merge.changes:
        ours = {**ours, "schedule": {**ours["schedule"], **merge.values}}
        path = f"/deployments/{now['id']}/schedules/{ours['id']}"
        call(url, path, {key: ours[key] for key in EDITABLE}, method="PATCH")
    first = "; ".join([f"schedule {brief(ours)}", *merge.changes])
    return [*lines, first, *(f"{KEPT}schedule {slug} {text}" for text in merge.kept)]


def brief(schedule: dict[str, Any]) -> str:
    """A schedule in a few words."""
    when = schedule["schedule"]
    text = when.get("cron") or when.get("rrule") or f"every {when.get('interval')} s"
    zone = f" {when['timezone']}" if when.get("timezone") else ""
    switch = "on" if schedule["active"] else "off"
    return f"{schedule['slug'] or schedule['id']} ({text}{zone}, {switch})"
