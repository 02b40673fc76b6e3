"""Requests to Prefect's API over HTTP; importing Prefect for them would take seconds."""

import base64
import json
import os
import time
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

WAITS = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the tries of a request."""
TIMEOUT_SECONDS = 60


def call(url: str, path: str, body: Any = None, method: str | None = None) -> Any:
    """The API's answer to a request; with a body it is a POST unless a method is given.

    A server whose database is locked answers 503: the request is repeated.
    """
    headers = {"Content-Type": "application/json"}
    if user := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    request = Request(url + path, data, headers, method=method)
    for wait in WAITS:
        try:
            return _answer(request)
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
        time.sleep(wait)
    return _answer(request)


def _answer(request: Request) -> Any:
    with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return json.loads(answer.read() or b"null")


def lookup(url: str, path: str) -> Any:
    """The document at a path; None where there is none."""
    try:
        return call(url, path)
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return None


def ensure(url: str, path: str, name: str, create: dict[str, Any]) -> None:
    """Create what does not exist yet; what exists stays as the person has set it.

    It is looked up first, as the server logs a conflict as an error of its own.
    """
    if lookup(url, f"{path}{quote(name)}") is not None:
        return
    try:
        call(url, path, {"name": name, **create})
    except HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:
            raise


def healthy(url: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        return call(url, "/health") is True
    except (OSError, ValueError):
        return False


def workers(url: str, pool: str) -> list[str]:
    """Names of the workers that registered with the pool."""
    return [worker["name"] for worker in call(url, f"/work_pools/{pool}/workers/filter", {})]
