"""Whether the hub of weights can be reached: what counts as an answer."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from stego_core.errors import WeightsError
from tasks.features import hub


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    """A server that answers /403 with status 403."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [200, 204, 401, 403, 404, 405])
def test_a_refusal_is_an_answer(mirror: str, status: int) -> None:
    assert hub.answers(f"{mirror}/{status}")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_server_is_none(mirror: str, status: int) -> None:
    assert not hub.answers(f"{mirror}/{status}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no address", "http://"])
def test_silence(url: str) -> None:
    assert not hub.answers(url)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"hub at http://127\.0\.0\.1:9 did not answer"):
        hub.require("vit_no_such_model")
