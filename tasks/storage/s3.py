"""Which S3 service a run uses; its client is in `s3_client`, which takes a second to import."""

from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import NamedTuple

from tasks.storage.threads import bound

CREDENTIALS = "give credentials through the environment or the service's own files"
"""The remedy of errors of access."""


class Service(NamedTuple):
    """An S3 service; None leaves a value to the standard AWS variables and files."""

    endpoint: str | None = None  # URL of the service, addressed by path
    region: str | None = None  # its region
    profile: str | None = None  # section of the credentials file


class AccessError(PermissionError):
    """No request can be sent: no credentials, no such profile, or an impossible bucket name."""


_service: ContextVar[Service | None] = ContextVar("service", default=None)


def connected(service: Service) -> AbstractContextManager[None]:
    """Use this service until the end of the block, in this thread and those of its pools."""
    return bound(_service, service)


def current_service() -> Service:
    """The service in use."""
    return _service.get() or Service()


def is_s3(uri: str) -> bool:
    """Whether a URI is one of S3."""
    return uri.startswith(("s3://", "s3a://"))
