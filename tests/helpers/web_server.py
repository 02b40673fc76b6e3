"""A web server of files in memory that misbehaves where a test wants it to."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Web:
    """What a server has, how it answers, and what it was asked.

    `faults`: for each path, statuses or words that the next answers have before a sound one: a
    number is a status, "gzip" a packed body, "cut" half a body, "slow" a body that drips, "wrong
    range" another range; (status, headers) an answer of that kind. With "always", the fault stays.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    always: dict[str, Any] = field(default_factory=dict)
    ranges: bool = True
    seconds: float = 0.0  # that each answer takes
    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0  # bytes of bodies
    running: int = 0
    most_at_once: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def counts(self) -> Counter[str]:
        return Counter(urlsplit(path).path for path, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        web = self.web
        with web.lock:
            web.requests.append((self.path, dict(self.headers)))
            web.running += 1
            web.most_at_once = max(web.most_at_once, web.running)
        try:
            time.sleep(web.seconds)
            self._answer(urlsplit(self.path).path.lstrip("/"))
        finally:
            with web.lock:
                web.running -= 1

    def _answer(self, path: str) -> None:
        waiting = self.web.faults.get(path, [])
        fault = waiting.pop(0) if waiting else self.web.always.get(path)
        if isinstance(fault, int):
            fault = (fault, {})
        if isinstance(fault, tuple):
            self._head(fault[0], {"Content-Length": "0", **fault[1]})
            return
        content = self.web.files.get(path)
        if content is None:
            self._head(404, {"Content-Length": "0"})
            return
        status, headers, body = self._ranged(content, fault)
        if fault == "gzip":
            headers, body = {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)
        self._head(
            status, {"Content-Length": str(len(body)), "ETag": f'"{hash(content)}"', **headers}
        )
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "slow":
            self._drip(body)
        else:
            self.wfile.write(body)
            with self.web.lock:
                self.web.sent += len(body)

    def _ranged(self, content: bytes, fault: Any) -> tuple[int, dict[str, str], bytes]:
        wanted = self.headers.get("Range")
        if not (wanted and self.web.ranges):
            return 200, {}, content
        first, last = (int(each) for each in wanted.removeprefix("bytes=").split("-"))
        if first >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        if fault == "wrong range":
            first = 0
        body = content[first : last + 1]
        span = f"bytes {first}-{first + len(body) - 1}/{len(content)}"
        return 206, {"Content-Range": span}, body

    def _drip(self, body: bytes) -> None:
        for byte in body:
            try:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients hang up here: that is no news."""


@contextmanager
def serving(**options: Any) -> Iterator[Web]:
    """A server on a free port of this machine, until the end of the block."""
    web = Web(**options)
    server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"web": web}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
