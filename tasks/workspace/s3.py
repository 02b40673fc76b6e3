"""S3 with patience: what a busy or distant service does wrong for a moment is tried again."""

import asyncio
import http
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import aiohttp
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ProfileNotFound,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as Unreachable
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from s3fs import S3FileSystem

from stego_core.errors import OptionError, OutageError
from tasks.log import Log

log = Log(__name__)

ATTEMPTS = 10
"""Of one request; with the waits between them a service may be away for about 40 seconds."""
ATTEMPTS_AT_FIRST = 3
"""While nothing has ever answered: most likely the address is wrong."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 15.0
CONNECT_SECONDS, READ_SECONDS = 5, 20
CONNECTIONS = 32
"""Requests of one process that may be under way at once."""
PASSING = {"SlowDown", "RequestTimeout", "ThrottlingException"}
"""Error codes below 500 that say: later."""
WEATHER = (
    Unreachable,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    ConnectionError,
)


class Service(NamedTuple):
    """Which S3: None leaves it to the standard AWS variables and files.

    Attributes:
        endpoint: URL of the service, addressed by path.
        region: its region.
        profile: section of the credentials file.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None


_service = Service()


@contextmanager
def connected(service: Service) -> Iterator[None]:
    """Use this service until the end of the block, in the whole process."""
    global _service
    before, _service = _service, service
    try:
        yield
    finally:
        _service = before


def current() -> Service:
    """The service in use."""
    return _service


def is_s3(uri: str) -> bool:
    """Whether a URI is one of S3."""
    return uri.startswith(("s3://", "s3a://"))


class PatientS3(S3FileSystem):  # type: ignore[misc]
    """An S3FileSystem that tries a request again, each after a longer, jittered wait.

    The libraries below try once only: nested retries multiply, log nothing, and do not cover
    an answer that breaks off in the middle.
    """

    protocol = ("s3", "s3a")
    retries = 1
    answered = False

    async def _call_s3(self, method: str, *arguments: Any, **parameters: Any) -> Any:
        call = super()._call_s3
        return await self._patiently(
            method, parameters, lambda: call(method, *arguments, **parameters)
        )

    async def _cat_file(
        self, path: str, version_id: None = None, start: Any = None, end: Any = None, **_: Any
    ) -> bytes:
        """A whole object or a range of it, in one request."""
        bucket, key, _version = self.split_path(path)
        ranged = start is not None or end is not None
        limits = {"Range": await self._process_limits(path, start, end)} if ranged else {}
        call = super()._call_s3

        async def read() -> bytes:
            answer = await call("get_object", Bucket=bucket, Key=key, **limits)
            async with answer["Body"] as body:
                return bytes(await body.read())

        return bytes(await self._patiently("get_object", {"Bucket": bucket, "Key": key}, read))

    async def _patiently(
        self, method: str, parameters: dict[str, Any], attempt: Callable[[], Awaitable[Any]]
    ) -> Any:
        begun, failed = time.monotonic(), 0
        while True:
            try:
                result = await attempt()
                break
            except Exception as error:
                fault = weather(error)
                if fault is None:
                    _refuse_endpoint(error)
                    raise
                failed += 1
                key = parameters.get("Key") or parameters.get("Prefix", "")
                place = f"s3://{parameters.get('Bucket')}/{key}"
                if failed >= self._attempts(error):
                    reason = str(error) if isinstance(error, Unreachable) else fault
                    raise OutageError(
                        f"{place}: {method} failed {failed} times in "
                        f"{time.monotonic() - begun:.0f} s, at last with {reason}; see to the "
                        "object store and run the same command again: finished shards are kept"
                    ) from None
            wait = min(FIRST_WAIT * 2 ** (failed - 1), LONGEST_WAIT)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # jitter spreads the load
        self.answered = True
        if failed:
            log.info(
                "s3 request repeated",
                request=method,
                place=place,
                fault=fault,
                repeats=failed,
                seconds=round(time.monotonic() - begun, 1),
            )
        return result

    def _attempts(self, error: Exception) -> int:
        lost = isinstance(error, Unreachable) and not self.answered
        return ATTEMPTS_AT_FIRST if lost else ATTEMPTS


def weather(error: Exception) -> str | None:
    """A short name for a fault that may pass; None for an answer that will not change."""
    cause = error.__cause__ if isinstance(error, OSError) and error.__cause__ else error
    if isinstance(cause, ClientError):
        code = str(cause.response.get("Error", {}).get("Code"))
        status = int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        late = status in (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.REQUEST_TIMEOUT)
        return code if status >= 500 or late or code in PASSING else None
    return type(cause).__name__ if isinstance(cause, WEATHER) else None


def _refuse_endpoint(error: Exception) -> None:
    """What botocore says, at the first request, of an endpoint that is no URL."""
    if isinstance(error, ValueError) and "endpoint" in str(error):
        raise OptionError(
            f"S3 cannot be used: {error}; expected one such as http://host:9000"
        ) from None


@lru_cache(maxsize=8)
def filesystem(service: Service, asynchronous: bool = False) -> PatientS3:
    """The filesystem of a service; `asynchronous` for use inside somebody's event loop.

    Raises:
        OptionError: the profile or the endpoint means nothing.
    """
    chosen = {"endpoint_url": service.endpoint, "profile": service.profile}
    try:
        return PatientS3(
            asynchronous=asynchronous,
            use_listings_cache=False,  # others write too
            max_concurrency=CONNECTIONS,
            client_kwargs={"region_name": service.region} if service.region else {},
            config_kwargs={
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "max_pool_connections": CONNECTIONS,
            },
            **{name: value for name, value in chosen.items() if value},
        )
    except (BotoCoreError, ValueError) as error:
        raise OptionError(f"S3 cannot be used: {error}") from None


NO_ACCESS = (NoCredentialsError, ProfileNotFound)
"""What botocore raises, at the first request, where nobody said who asks."""
