"""Which S3 service a run uses; s3fs and botocore are imported at its first use."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

CONNECTIONS = 32  # requests of one process at the same time, at most
CONNECT_SECONDS = 5  # longest wait for a connection, in one attempt
READ_SECONDS = 20  # longest wait for the next bytes of an answer, in one attempt


class Service(NamedTuple):
    """An S3 service; None leaves a value to the standard AWS variables and files.

    Attributes:
        endpoint: URL of the service, addressed by path.
        region: its region.
        profile: section of the credentials file.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None


class AccessError(PermissionError):
    """No request can be sent: no credentials, no such profile, or an impossible bucket name."""


_service: ContextVar[Service | None] = ContextVar("service", default=None)


@contextmanager
def connected(service: Service) -> Iterator[None]:
    """Use this service until the end of the block, in this thread and those of its pools."""
    token = _service.set(service)
    try:
        yield
    finally:
        _service.reset(token)


def current_service() -> Service:
    """The service in use."""
    return _service.get() or Service()


def is_s3(uri: str) -> bool:
    """Whether a URI is one of S3."""
    return uri.startswith(("s3://", "s3a://"))


@lru_cache(maxsize=8)
def filesystem(service: Service, asynchronous: bool = False) -> Any:
    """The filesystem of a service; `asynchronous` for use inside another event loop."""
    from tasks.storage.s3_client import LoggedS3  # s3fs and botocore take a second to import

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
