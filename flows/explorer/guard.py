"""Who may ask: Host, Origin and token of every request, and the headers of every answer.

A page of another site may not read a thing here, not by DNS rebinding (Host), not by a request from
its own scripts or pictures (Origin, Sec-Fetch-Site), and may not change a thing (token, JSON).
"""

import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-stego-token"
LONGEST_BODY = 64 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HOST = re.compile(r"(?P<name>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")
READING = {"GET", "HEAD"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Refusal(Exception):
    """A request that is not answered: a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        """Refuse with this status and sentence."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Guard:
    """ASGI middleware that lets this server's own page in and nobody else.

    Attributes:
        app: what answers.
        host: that the server was told to listen on.
        port: that it listens on.
        token: that its page knows and other sites do not.
    """

    app: ASGIApp
    host: str
    port: int
    token: str = field(repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self.check(scope)
        except Refusal as refusal:
            answer = JSONResponse({"error": str(refusal)}, refusal.status)
            await answer(scope, receive, answering)
            return
        await self.app(scope, receive, answering)

    def check(self, scope: Scope) -> None:
        """Let a request pass.

        Raises:
            Refusal: it comes from elsewhere, or would change something without saying so.
        """
        if scope["type"] != "http":
            raise Refusal(400, "only HTTP is spoken here")
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.serves(host):
            raise Refusal(421, f"this server is not {host!r}; open the address that it printed")
        if headers.get("origin") not in (None, f"http://{host}"):
            raise Refusal(403, "requests of other sites are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (
            headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        ):
            raise Refusal(403, "requests of other sites are refused")
        if scope["method"] not in READING:
            self._check_change(headers)

    def _check_change(self, headers: Mapping[str, str]) -> None:
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "a change is sent as application/json")
        if not secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self.token.encode()):
            raise Refusal(403, "the page is of an earlier start of this server; reload it")
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            raise Refusal(413, f"a change is at most {LONGEST_BODY} bytes and says how long it is")

    def serves(self, host: str) -> bool:
        """Whether a Host header names this server.

        One that listens on every address is also known by each of them as a number: no DNS name
        can be turned into that.
        """
        parts = HOST.fullmatch(host.lower())
        if parts is None or (parts["port"] or "80") != str(self.port):
            return False
        if parts["name"] in {*LOOPBACK, self.host.lower(), f"[{self.host.lower()}]"}:
            return True
        return is_wildcard(self.host) and _address(parts["name"].strip("[]")) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on that host."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def is_wildcard(host: str) -> bool:
    """Whether a server on that host listens on every address."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
