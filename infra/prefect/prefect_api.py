"""Requests to Prefect's API over HTTP; importing Prefect for them would take seconds."""

import os
import time
from typing import Any
from urllib.parse import quote

import httpx

TRIES = 5
"""Of a request; the first is repeated after half a second, each later one after twice as long."""
TIMEOUT_SECONDS = 180
"""Of an answer. On SQLite the server waits 60 seconds for a lock at each of a request's statements;
who gives up sooner never hears that it was locked."""
CLIENT = httpx.Client(
    timeout=TIMEOUT_SECONDS,
    follow_redirects=True,
    limits=httpx.Limits(max_keepalive_connections=0),
)


def answered(url: str, path: str, body: Any = None, method: str | None = None) -> httpx.Response:
    """The API's answer to a request; with a body it is a POST unless a method is given.

    A server whose database is locked answers 503: the request is repeated.
    """
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    auth = (user, password) if user else None
    method = method or ("GET" if body is None else "POST")
    for attempt in range(TRIES):
        time.sleep(2**attempt / 4 if attempt else 0)
        answer = CLIENT.request(method, url + path, json=body, auth=auth)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
    return answer


def call(url: str, path: str, body: Any = None, method: str | None = None) -> Any:
    """The document that the API answers; None where there is none in the answer."""
    answer = answered(url, path, body, method).raise_for_status()
    return answer.json() if answer.content else None


def lookup(url: str, path: str) -> Any:
    """The document at a path; None where there is none."""
    answer = answered(url, path)
    return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()


def ensure(url: str, path: str, name: str, create: dict[str, Any]) -> None:
    """Create what does not exist yet; what exists stays as the person has set it.

    It is looked up first, as the server logs a conflict as an error of its own.
    """
    if lookup(url, f"{path}{quote(name)}") is None:
        answer = answered(url, path, {"name": name, **create})
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()


def healthy(url: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        return call(url, "/health") is True
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


def workers(url: str, pool: str) -> list[str]:
    """Names of the workers that registered with the pool."""
    return [worker["name"] for worker in call(url, f"/work_pools/{pool}/workers/filter", {})]
