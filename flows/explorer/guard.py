"""What reaches the application: Host, Origin, cookie and form of every request; answers' headers.

Who lacks the cookie (see `login`) reads and changes nothing. A page of another site may not use the
cookie of somebody's browser: not by DNS rebinding (Host), not by a request from its own scripts or
pictures (Origin, Sec-Fetch-Site, SameSite), and a change is JSON.
"""

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.explorer.login import Login
from flows.explorer.refused import AGAIN, ELSEWHERE, UNKNOWN, Refusal, page_policy

LONGEST_BODY = 64 * 1024
LARGEST_UPLOAD = 64 * 2**20
UPLOAD = ("/api/loose", "application/octet-stream")
"""The one address that takes a file, and its form: no form of another site can send it unasked."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HOST = re.compile(r"(?P<name>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")
READING = {"GET", "HEAD"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
REFUSAL_POLICY = page_policy()


@dataclass(frozen=True)
class Guard:
    """ASGI middleware that lets in who has the cookie, asking from this server's own page. Its
    checks raise `Refusal`.
    """

    app: ASGIApp
    host: str  # that the person asked to listen on
    bound: str  # its address
    login: Login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        try:
            self.check_origin(scope, headers)
            entrance = self.login.entrance(scope, headers)
            if entrance is None:
                self.check_cookie(scope, headers)
                check_form(scope, headers)
            answer, policy = entrance or self.app, POLICY
        except Refusal as refusal:
            refusal.headers.update(_closing(headers))
            answer, policy = refusal.answer(headers), REFUSAL_POLICY

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent.update({**HEADERS, "content-security-policy": policy})
                sent.setdefault("cache-control", _caching(scope["path"]))
            await send(message)

        with suppress(Exception):  # the application has answered it, and logged why
            await answer(scope, receive, answering)

    def check_origin(self, scope: Scope, headers: Headers) -> None:
        """Let requests pass that are for this server and do not come from another site's page."""
        hosts, path = headers.getlist("host"), scope["path"]
        if len(hosts) != 1 or not self.serves(hosts[0]):
            named = " and ".join(hosts)[:100]
            raise Refusal(421, f"this server is not {named!r}; open the address that it printed")
        if not path.startswith("/"):
            raise Refusal(400, "an address here begins with /")
        if any(origin != f"http://{hosts[0]}" for origin in headers.getlist("origin")):
            raise Refusal(403, ELSEWHERE)
        if _from_elsewhere(headers) and not (
            scope["method"] in READING and path == "/" and _is_navigation(headers)
        ):
            raise Refusal(403, ELSEWHERE)

    def check_cookie(self, scope: Scope, headers: Headers) -> None:
        """Let requests pass that have the cookie."""
        if not self.login.admits(headers):
            reload = _from_elsewhere(headers) and scope["query_string"] != AGAIN.encode()
            raise Refusal(401, UNKNOWN, {"www-authenticate": "Token"}, reload)

    def serves(self, host: str) -> bool:
        """Whether a Host header names this server.

        One that listens on every address is also known by each of them as a number: no DNS name
        can be turned into that.
        """
        parts = HOST.fullmatch(host.lower())
        if parts is None or (parts["port"] or "80") != str(self.login.port):
            return False
        own = {each.lower() for each in (self.host, self.bound)}
        if parts["name"] in {*LOOPBACK, *own, *(f"[{each}]" for each in own)}:
            return True
        return is_wildcard(self.bound) and _address(parts["name"].strip("[]")) is not None


def check_form(scope: Scope, headers: Headers) -> None:
    """Let requests pass that only read, or send a short change as JSON, or an image to label."""
    if scope["method"] in READING:
        return
    form = headers.get("content-type", "").split(";")[0].strip().lower()
    is_upload = (scope["path"], form) == UPLOAD
    if form != "application/json" and not is_upload:
        raise Refusal(415, "a change is sent as application/json")
    length, most = headers.get("content-length", ""), LARGEST_UPLOAD if is_upload else LONGEST_BODY
    if "transfer-encoding" in headers or not _is_at_most(length, most):
        raise Refusal(413, f"what is sent here is at most {most} bytes and says how long it is")


def _from_elsewhere(headers: Headers) -> bool:
    """Whether a page of another site, or of another port of this host, made a browser ask."""
    return headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _is_navigation(headers: Headers) -> bool:
    """Whether a browser would show the answer as a page of its own."""
    mode, dest = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest", "document")
    return mode == "navigate" and dest == "document"


def _is_at_most(length: str, most: int) -> bool:
    return length.isdecimal() and len(length) < 12 and int(length) <= most


def _closing(headers: Headers) -> dict[str, str]:
    """Headers that end the connection of a refused request whose body might never end."""
    small = _is_at_most(headers.get("content-length", "0"), 2 * LONGEST_BODY)
    return {} if small and "transfer-encoding" not in headers else {"connection": "close"}


def _caching(path: str) -> str:
    """How long a browser keeps an answer that does not say so itself."""
    return "no-cache" if path.startswith("/static/") else "no-store"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server on that address."""
    number = _address(address)
    return number is not None and number.is_loopback


def is_wildcard(address: str) -> bool:
    """Whether a server on that address listens on every one."""
    number = _address(address)
    return number is not None and number.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
