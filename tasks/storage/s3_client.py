"""S3 by s3fs, which repeats requests; here each failure of a request is judged and counted once.

s3fs alone logs no repeated request, repeats a read twelve times twelve times where its answer
breaks off, and does not say which request it gave up. So its client is wrapped: a request ends when
the body of its answer has arrived.
"""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any

import aiohttp
from botocore import exceptions as raised  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from s3fs import S3FileSystem
from s3fs.core import add_retryable_error

from stego_core.errors import OptionError, OutageError
from tasks.log import Log
from tasks.storage.s3 import CREDENTIALS, AccessError, Service

log = Log(__name__)

CONNECTIONS = 32  # requests of one process at the same time, at most
CONNECT_SECONDS = 5  # longest wait for a connection, in one attempt
READ_SECONDS = 20  # longest wait for the next bytes of an answer, in one attempt
ATTEMPTS = 12
"""Of one request; s3fs waits 0.1 s after the first, 1.7 times as long after each: 44 s in all."""
ATTEMPTS_AT_FIRST = 3  # while the service has never answered: most likely the address is wrong
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
"""Errors that are raised where no whole answer arrived."""


class TransientError(Exception):
    """One attempt failed, the next one may succeed: s3fs repeats the request."""


add_retryable_error(TransientError)


class LoggedS3(S3FileSystem):  # type: ignore[misc]
    """An S3FileSystem whose repeated requests are logged, and whose outages are `OutageError`s."""

    protocol = ("s3", "s3a")
    retries = ATTEMPTS
    answered = False  # ever, by the service

    async def set_session(self, *arguments: Any, **options: Any) -> Any:
        """Make the client, at the first request.

        AccessError where there is no such profile, OptionError where the endpoint is no URL.
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

    def each_object(self, root: str) -> Iterator[dict[str, Any]]:
        """What `find` tells of each object below a folder, a page at a time: `find` holds all.

        An object of the folder's own name is its only one.
        """
        bucket, key, _ = self.split_path(root)
        if not bucket:
            raise ValueError("a bucket is needed; all of them cannot be listed")
        request = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", **self.req_kw}
        found = False
        while True:
            answer = self.call_s3("list_objects_v2", **request)
            for each in answer.get("Contents", []):
                found = True
                yield {"name": f"{bucket}/{each['Key']}", "size": each["Size"], **each}
            if not answer.get("IsTruncated"):
                break
            request["ContinuationToken"] = answer["NextContinuationToken"]
        if key and not found:
            with suppress(FileNotFoundError):
                yield self.info(root)


class Request:
    """botocore's client for one request, whose methods s3fs calls until one of them succeeds."""

    def __init__(self, filesystem: LoggedS3, client: Any) -> None:
        """A request that was not sent yet."""
        self.filesystem, self.client = filesystem, client
        self.begun, self.failures, self.fault = time.monotonic(), 0, ""

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        """One attempt of a method of the client; raises what `_error` returns."""
        call = getattr(self.client, method)

        @wraps(call)  # s3fs looks its parameters up by its name
        async def attempt(**parameters: Any) -> Any:
            key = parameters.get("Key") or parameters.get("Prefix", "")
            uri = f"s3://{parameters.get('Bucket')}/{key}"
            try:
                answer = await call(**parameters)
                if method == "get_object":
                    async with answer["Body"] as body:
                        answer["Body"] = Body(await body.read())
            except Exception as error:
                raise self._error(method, uri, error) from None
            self.filesystem.answered = True
            if self.failures:
                fields = {"place": uri, "fault": self.fault, "repeats": self.failures}
                seconds = round(time.monotonic() - self.begun, 1)
                log.info("s3 request repeated", request=method, **fields, seconds=seconds)
            return answer

        return attempt

    def _error(self, method: str, uri: str, error: Exception) -> Exception:
        """A failed attempt's error as TransientError, OutageError, AccessError, or itself."""
        self.fault = transient_fault(error)
        if not self.fault:
            return _access_error(error) if isinstance(error, raised.BotoCoreError) else error
        self.failures += 1
        unreachable = isinstance(error, raised.ConnectionError)
        at_first = unreachable and not self.filesystem.answered
        if self.failures < (ATTEMPTS_AT_FIRST if at_first else self.filesystem.retries):
            return TransientError(self.fault)
        return OutageError(
            f"{uri}: {method} failed {self.failures} times in {time.monotonic() - self.begun:.0f} "
            f"s, at last with {error if unreachable else self.fault}; see to the object store and "
            "run the same command again: finished shards are kept"
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


@lru_cache(maxsize=8)
def filesystem(service: Service, asynchronous: bool = False) -> Any:
    """The filesystem of a service; `asynchronous` for use inside another event loop."""
    options = {"endpoint_url": service.endpoint, "profile": service.profile}
    return LoggedS3(
        asynchronous=asynchronous,
        use_listings_cache=False,  # others write too
        max_concurrency=1,  # with more, s3fs asks for an object's size before each read
        client_kwargs={"region_name": service.region} if service.region else {},
        config_kwargs={
            "retries": {"total_max_attempts": 1, "mode": "standard"},  # s3fs repeats, botocore not
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": CONNECTIONS,
        },
        **{name: value for name, value in options.items() if value},
    )
