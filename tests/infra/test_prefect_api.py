"""Requests to Prefect's API: what is repeated, what is none, who asks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "infra" / "prefect"))
import prefect_api

URL = "http://127.0.0.1:1/api"
Server = Callable[..., list[httpx.Request]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that gives these answers in order; returns the requests that reach it."""
    monkeypatch.setattr(prefect_api.time, "sleep", lambda _: None)
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)

    def start(*answers: httpx.Response) -> list[httpx.Request]:
        requests: list[httpx.Request] = []
        left = iter(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return next(left)

        client = httpx.Client(transport=httpx.MockTransport(answer))
        monkeypatch.setattr(prefect_api, "CLIENT", client)
        return requests

    return start


def test_a_body_makes_it_a_post(server: Server) -> None:
    requests = server(
        httpx.Response(200, json=[1]), httpx.Response(200, json=2), httpx.Response(204)
    )
    assert prefect_api.call(URL, "/flows/filter", {}) == [1]
    assert prefect_api.call(URL, "/flows/7") == 2
    assert prefect_api.call(URL, "/flows/7", {"name": "x"}, method="PATCH") is None
    assert [request.method for request in requests] == ["POST", "GET", "PATCH"]
    assert [request.content for request in requests] == [b"{}", b"", b'{"name":"x"}']


def test_a_locked_database_is_asked_again(server: Server) -> None:
    locked = [httpx.Response(503) for _ in range(4)]
    assert len(server(*locked, httpx.Response(200, json=True))) == 0
    assert prefect_api.call(URL, "/health") is True
    requests = server(*locked, httpx.Response(503))
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        prefect_api.call(URL, "/health")
    assert len(requests) == prefect_api.TRIES


def test_other_refusals_are_told_at_once(server: Server) -> None:
    requests = server(httpx.Response(422, text="no such field"))
    with pytest.raises(httpx.HTTPStatusError) as refused:
        prefect_api.call(URL, "/flows/", {})
    assert refused.value.response.text == "no such field"
    assert len(requests) == 1


def test_what_is_not_there_is_none(server: Server) -> None:
    server(httpx.Response(404), httpx.Response(200, json={"id": 1}), httpx.Response(401))
    assert prefect_api.lookup(URL, "/variables/name/x") is None
    assert prefect_api.lookup(URL, "/variables/name/x") == {"id": 1}
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        prefect_api.lookup(URL, "/variables/name/x")


@pytest.mark.parametrize("made", [201, 409])  # by us, or by somebody else meanwhile
def test_what_is_missing_is_created(server: Server, made: int) -> None:
    requests = server(httpx.Response(404), httpx.Response(made, json={}))
    prefect_api.ensure(URL, "/work_pools/", "a b", {"type": "process"})
    assert [request.url.raw_path for request in requests] == [
        b"/api/work_pools/a%20b", b"/api/work_pools/",
    ]  # fmt: skip
    assert requests[1].read() == b'{"name":"a b","type":"process"}'


def test_what_is_there_stays(server: Server) -> None:
    requests = server(httpx.Response(200, json={"type": "docker"}))
    prefect_api.ensure(URL, "/work_pools/", "stego", {"type": "process"})
    assert len(requests) == 1


def test_the_password_goes_along(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = server(httpx.Response(200), httpx.Response(200))
    prefect_api.call(URL, "/health")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:pass:word")
    prefect_api.call(URL, "/health")
    given: list[Any] = [request.headers.get("authorization") for request in requests]
    assert given == [None, "Basic dXNlcjpwYXNzOndvcmQ="]


@pytest.mark.parametrize("url", [URL, "nonsense", "http://[", "ftp://there/api"])
def test_nobody_answers(url: str) -> None:
    assert prefect_api.healthy(url) is False
