"""Requests to web servers: polite, tried again, and never a secret in an error or a log."""

import http
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple, TypeVar
from urllib.parse import urljoin

import httpx

from stego_core.errors import OutageError
from tasks.log import Log
from tasks.storage.http_hosts import LONGEST_WAIT, backoff, host_of
from tasks.storage.redaction import is_http, redacted

log = Log(__name__)
for library in ("httpx", "httpcore"):  # they log whole addresses, with their secrets
    logging.getLogger(library).setLevel(logging.WARNING)

CONNECT_SECONDS = 10  # longest wait for a connection, in one attempt
READ_SECONDS = 20  # longest wait for the next bytes of an answer, in one attempt
SLOWEST = 1024  # bytes per second; an answer that is slower after READ_SECONDS is given up
REDIRECTS = 5  # followed from one address
LATER = {408, 425, 429}  # statuses below 500 that ask to come again later
T = TypeVar("T")


class HostError(OutageError):
    """A web server that gave no whole answer, however often it was asked."""


class GoneError(FileNotFoundError):
    """A web server has no such file."""


class RefusedError(PermissionError):
    """A web server does not give a file."""


class TryAgain(Exception):
    """One attempt failed, the next one may succeed."""

    def __init__(self, fault: str, retry_after: str | None = None) -> None:
        """With a short name of the fault, and what the server says when to come again."""
        super().__init__(fault)
        self.retry_after = retry_after


class Answer(NamedTuple):
    """The head of an answer, and its body as it arrives."""

    ranged: bool  # whether it is the range that was requested; else it is the whole file
    size: int | None  # of the whole file, where the server says so
    version: str  # ETag or time of change; empty where the server gives neither
    pieces: Iterator[bytes]


class HttpClient:
    """Sends requests; one of a process serves all threads."""

    def __init__(self) -> None:
        """No request is sent yet."""
        blind = DefaultCookiePolicy(allowed_domains=[])  # what one address sets, no other gets
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=None)
        self.client = httpx.Client(timeout=timeout, cookies=CookieJar(blind))

    def request(self, uri: str, span: tuple[int, int] | None, take: Callable[[Answer], T]) -> T:
        """What `take` makes of an answer with a file, or with the bytes of a span [first, end).

        `take` may be called several times: an answer may break off.

        Raises:
            GoneError, RefusedError: the server says so; `strerror` has the status.
            HostError: no attempt had a whole answer.
        """
        host, failures = host_of(uri), 0
        while True:
            try:
                outcome = self._follow(uri, span, take)
                host.note(answered=True)
                return outcome
            except (GoneError, RefusedError):
                host.note(answered=True)
                raise
            except (httpx.HTTPError, TryAgain) as error:
                failures += 1
                asked = getattr(error, "retry_after", None)
                wait = backoff(failures, asked)
                fault = str(error) if isinstance(error, TryAgain) else type(error).__name__
            if failures >= host.attempts or wait > LONGEST_WAIT:
                host.note(answered=False)
                raise HostError(_given_up(uri, fault, failures, wait))
            log.debug("http request repeated", place=redacted(uri), fault=fault)
            host.rest(wait) if asked else time.sleep(wait)

    def _follow(self, uri: str, span: tuple[int, int] | None, take: Callable[[Answer], T]) -> T:
        """One attempt, with its redirects."""
        address = uri
        for _ in range(REDIRECTS + 1):
            with host_of(address).slot(), self._sent(address, span) as response:
                if not response.is_redirect:
                    _require_success(uri, response)
                    return take(_answer(uri, response, span))
                target = urljoin(address, response.headers.get("location", ""))
            if not is_http(target):
                scheme = target.partition(":")[0][:20]
                raise _refused(uri, f"it redirects to {scheme}:, which is no web address")
            if address.lower().startswith("https:") and not target.lower().startswith("https:"):
                raise _refused(uri, "it redirects from https to http")
            address = target
        raise _refused(uri, f"it redirects more than {REDIRECTS} times")

    @contextmanager
    def _sent(self, address: str, span: tuple[int, int] | None) -> Iterator[httpx.Response]:
        headers = {"User-Agent": "stego-flows", "Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        try:
            with self.client.stream("GET", address, headers=headers) as response:
                yield response
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
            raise _refused(address, "it is no web address") from None


def _require_success(uri: str, response: httpx.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    text = _status(status)
    if status in LATER or status >= 500:
        raise TryAgain(text, response.headers.get("retry-after"))
    if status in (404, 410):
        raise GoneError(2, text, redacted(uri))
    raise _refused(uri, text)


def _status(status: int) -> str:
    try:
        return f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _answer(uri: str, response: httpx.Response, span: tuple[int, int] | None) -> Answer:
    headers = response.headers
    length = headers.get("content-length", "")
    size = int(length) if length.isdigit() else None
    ranged = span is not None and response.status_code == 206
    if ranged and span:
        stated = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("content-range", ""))
        if stated is None or int(stated[1]) != span[0]:
            raise _refused(uri, "its server answers with another range than was requested")
        size = int(stated[3]) if stated[3] != "*" else None
    version = (headers.get("etag") or headers.get("last-modified") or "").strip('"')
    return Answer(ranged, size, version, _pieces(response, ranged))


def _pieces(response: httpx.Response, ranged: bool) -> Iterator[bytes]:
    """The body as it arrives, unpacked if it is whole; TryAgain where it takes too long."""
    begun, taken = time.monotonic(), 0
    for piece in response.iter_raw() if ranged else response.iter_bytes():
        yield piece
        taken += len(piece)
        seconds = time.monotonic() - begun
        if seconds > READ_SECONDS and taken < SLOWEST * seconds:
            raise TryAgain(f"an answer of less than {SLOWEST} bytes per second")


def _refused(uri: str, reason: str) -> RefusedError:
    return RefusedError(13, reason, redacted(uri))


def _given_up(uri: str, fault: str, failures: int, wait: float) -> str:
    times = "once" if failures == 1 else f"{failures} times"
    later = f"; the server asks to come again in {wait:.0f} s" if wait > LONGEST_WAIT else ""
    return f"{redacted(uri)} was requested {times}, at last with {fault}{later}"
