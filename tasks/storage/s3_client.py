"""S3 by s3fs, which repeats requests; here each failure of a request is judged and counted once.

s3fs alone logs no repeated request, multiplies the attempts of a read whose answer breaks off, and
does not tell what it gave up. So its client is wrapped, and an answer's body belongs to a request.
"""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import aiohttp
from botocore import exceptions as raised  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from s3fs import S3FileSystem
from s3fs.core import add_retryable_error

from stego_core.errors import OptionError, OutageError
from tasks.log import Log
from tasks.storage.refusal_errors import CREDENTIALS
from tasks.storage.s3 import AccessError

log = Log(__name__)

ATTEMPTS = 12
"""Of one request; s3fs waits 0.1 s after the first, 1.7 times as long after each: 44 s in all."""
ATTEMPTS_AT_FIRST = 3
"""While nothing has ever answered: most likely the address is wrong."""
LATER = {"RequestTimeout", "ThrottlingException", 408, 429}
"""Codes and statuses of answers below 500 that ask to come again later."""
TRANSIENT = (
    raised.ConnectionError,
    raised.HTTPClientError,
    raised.IncompleteReadError,
    ResponseParserError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    ConnectionError,
)
"""What is raised where no whole answer arrived."""


class TransientError(Exception):
    """One attempt failed, the next one may succeed: s3fs repeats the request."""


add_retryable_error(TransientError)


class LoggedS3(S3FileSystem):  # type: ignore[misc]
    """An S3FileSystem whose repeated requests are logged, and whose outages are `OutageError`s.

    Attributes:
        answered: whether the service has ever answered.
    """

    protocol = ("s3", "s3a")
    retries = ATTEMPTS
    answered = False

    async def set_session(self, *arguments: Any, **options: Any) -> Any:
        """Make the client, at the first request.

        Raises:
            AccessError: there is no such profile.
            OptionError: the endpoint is no URL.
        """
        try:
            return await super().set_session(*arguments, **options)
        except raised.BotoCoreError as error:
            raise _access_error(error) from None
        except ValueError as error:
            raise OptionError(
                f"S3 cannot be used: {error}; expected one such as http://host:9000"
            ) from None

    async def get_s3(self, bucket: str | None = None) -> "Request":
        """The client for one request."""
        return Request(self, await super().get_s3(bucket))


class Request:
    """botocore's client for one request, whose methods s3fs calls until one of them succeeds."""

    def __init__(self, filesystem: LoggedS3, client: Any) -> None:
        """A request that was not sent yet."""
        self.filesystem, self.client = filesystem, client
        self.begun, self.failures, self.fault = time.monotonic(), 0, ""

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        """One attempt of a method of the client.

        Raises:
            TransientError: it failed, and may succeed the next time.
            OutageError: it failed as often as it may.
            AccessError: it cannot be sent.
        """
        call = getattr(self.client, method)

        @wraps(call)
        async def attempt(**parameters: Any) -> Any:
            place = f"s3://{parameters.get('Bucket')}/"
            place += parameters.get("Key") or parameters.get("Prefix", "")
            try:
                answer = await call(**parameters)
                if method == "get_object":
                    async with answer["Body"] as body:
                        answer["Body"] = Body(await body.read())
            except Exception as error:
                raise self._failed(method, place, error) from None
            self.filesystem.answered = True
            if self.failures:
                fields = {"place": place, "fault": self.fault, "repeats": self.failures}
                seconds = round(time.monotonic() - self.begun, 1)
                log.info("s3 request repeated", request=method, **fields, seconds=seconds)
            return answer

        return attempt

    def _failed(self, method: str, place: str, error: Exception) -> Exception:
        """What to raise for an error of an attempt."""
        self.fault = transient_fault(error)
        if not self.fault:
            return _access_error(error) if isinstance(error, raised.BotoCoreError) else error
        self.failures += 1
        lost = isinstance(error, raised.ConnectionError)
        attempts = self.filesystem.retries
        if lost and not self.filesystem.answered:
            attempts = ATTEMPTS_AT_FIRST
        if self.failures < attempts:
            return TransientError(self.fault)
        return OutageError(
            f"{place}: {method} failed {self.failures} times in "
            f"{time.monotonic() - self.begun:.0f} s, at last with {error if lost else self.fault}; "
            "see to the object store and run the same command again: finished shards are kept"
        )


class Body(io.BytesIO):
    """An answer's body that arrived whole, to be read as s3fs reads one that is arriving."""

    async def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        """The next bytes."""
        return super().read(size)


def transient_fault(error: Exception) -> str:
    """A short name of an error that may not come again; empty for a lasting answer."""
    if isinstance(error, raised.ClientError):
        code = str(error.response.get("Error", {}).get("Code"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return code if status >= 500 or LATER & {code, status} else ""
    return type(error).__name__ if isinstance(error, TRANSIENT) else ""


def _access_error(error: Exception) -> AccessError:
    reason = " ".join(str(error).split())
    missing = isinstance(error, raised.NoCredentialsError | raised.ProfileNotFound)
    return AccessError(f"{reason}; {CREDENTIALS}" if missing else reason)
