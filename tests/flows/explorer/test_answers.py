"""Errors as statuses and one sentence."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from flows.explorer.answers import HANDLERS, Change, Forbidden, answer, status
from stego_core.errors import ImageError, InputError, OptionError, StegoError, WorkspaceError


@pytest.mark.parametrize(
    ("error", "reading", "changing"),
    [
        (InputError("no such dump"), 404, 400),
        (ImageError("broken"), 404, 400),
        (OptionError("no such order"), 400, 400),
        (WorkspaceError("changed meanwhile"), 409, 409),
    ],
)
def test_statuses(error: StegoError, reading: int, changing: int) -> None:
    assert status(error, "GET") == status(error, "HEAD") == reading
    assert status(error, "POST") == changing


def test_half_a_character_is_sent_all_the_same() -> None:
    assert json.loads(answer("a\ud800b", 400).body) == {"error": "a\\ud800b"}


class Size(Change):
    """A change with a number."""

    height: int


@pytest.fixture
def client() -> TestClient:
    app = FastAPI(exception_handlers=HANDLERS)

    @app.get("/{kind}")
    def read(kind: str) -> Any:
        errors = {"mine": WorkspaceError("not now"), "barred": Forbidden("not from here")}
        raise errors.get(kind, RuntimeError("the inside of it"))

    @app.post("/size")
    def resize(sent: Size) -> Any:
        return sent.height

    return TestClient(app, raise_server_exceptions=False)


class TestHandlers:
    @pytest.mark.parametrize(
        ("path", "code", "sentence"),
        [
            ("/mine", 409, "not now"),
            ("/barred", 403, "not from here"),
            ("/else", 500, "something failed that should not; the log has the cause"),
            ("/a/b", 404, "Not Found"),
        ],
    )
    def test_each_is_one_sentence(
        self, client: TestClient, path: str, code: int, sentence: str
    ) -> None:
        answered = client.get(path)
        assert (answered.status_code, answered.json()) == (code, {"error": sentence})

    @pytest.mark.parametrize(
        ("body", "name"),
        [
            ({}, "height"), ({"height": "3"}, "height"), ({"height": 3, "more": 1}, "more"),
            ({"height": True}, "height"), ([], "the change"),
        ],
    )  # fmt: skip
    def test_a_change_of_another_form(self, client: TestClient, body: Any, name: str) -> None:
        answered = client.post("/size", json=body)
        assert answered.status_code == 400
        assert answered.json()["error"].startswith(f"{name}: ")
        assert client.post("/size", json={"height": 3}).json() == 3
