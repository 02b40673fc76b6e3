"""Manners towards web servers: few requests at once, and waits where a server asks for them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

AT_ONCE = 4  # requests of one process to one host at the same time
ATTEMPTS = 5  # of one request
ATTEMPTS_WHEN_DOWN = 1  # of a request to a host that gave up so many of them in a row:
DOWN_AFTER = 6
FIRST_WAIT = 0.5  # seconds after the first attempt, doubled after each
LONGEST_WAIT = (
    60.0  # seconds that a server may ask for with Retry-After; else the request is given up
)


class Host:
    """What this process knows of one host."""

    def __init__(self) -> None:
        """A host that was not asked yet."""
        self.slots = threading.BoundedSemaphore(AT_ONCE)
        self.lock = threading.Lock()
        self.rest_until = 0.0  # no request before that moment of the monotonic clock
        self.given_up = 0  # requests in a row that were given up

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place among the requests to this host, as soon as it wants one."""
        with self.slots:
            while (seconds := self.rest_until - time.monotonic()) > 0:
                time.sleep(seconds)
            yield

    @property
    def attempts(self) -> int:
        """How often a request is tried."""
        return ATTEMPTS_WHEN_DOWN if self.given_up >= DOWN_AFTER else ATTEMPTS

    def rest(self, seconds: float) -> None:
        """Let all requests to this host wait."""
        with self.lock:
            self.rest_until = max(self.rest_until, time.monotonic() + seconds)

    def note(self, answered: bool) -> None:
        """Note how a request ended."""
        with self.lock:
            self.given_up = 0 if answered else self.given_up + 1


_hosts: dict[str, Host] = {}
_hosts_lock = threading.Lock()


def host_of(uri: str) -> Host:
    """The host of an address, the same object for all threads of this process."""
    with _hosts_lock:
        return _hosts.setdefault(urlsplit(uri).netloc.lower(), Host())


def backoff(failures: int, retry_after: str | None) -> float:
    """Seconds to wait after so many failures, at least what the server asks for."""
    asked = seconds_of(retry_after) if retry_after else 0.0
    return max(FIRST_WAIT * float(2 ** (failures - 1)), asked)


def seconds_of(retry_after: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or as a date; 0 if it is neither."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
