"""Errors of file systems and object stores, as errors that a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stego_core.errors import CapacityError, StegoError, WorkspaceError
from tasks.storage import s3

PERMANENT = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)
"""Errors of an operating system where writing will not work the next time either."""
PERMANENT_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG)
"""Numbers of such errors that have no class of their own."""
FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors where there is no space."""


@contextmanager
def read_errors(uri: str) -> Iterator[None]:
    """Turn errors of reading a workspace into errors that a person can act on."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        foreign = has_own_errors(uri) and not isinstance(error, StegoError | ValueError | TypeError)
        if not (foreign or isinstance(error, PermissionError)):
            raise
        reason = error if isinstance(error, PermissionError) else first_line(error)
        raise WorkspaceError(f"{uri} cannot be read: {reason}") from None


@contextmanager
def write_errors(uri: str) -> Iterator[None]:
    """Turn errors of writing into errors that a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_NUMBERS:
            raise CapacityError(
                f"no space is left to write to {uri} ({error.strerror}); free some and run the "
                "same command again: finished shards are kept"
            ) from None
        if isinstance(error, PERMANENT) or error.errno in PERMANENT_NUMBERS:
            raise WorkspaceError(f"{uri} cannot be written: {error}") from None
        raise
    except Exception as error:
        if not has_own_errors(uri) or isinstance(error, StegoError):
            raise
        raise WorkspaceError(f"{uri} cannot be written: {first_line(error)}") from None


def has_own_errors(uri: str) -> bool:
    """Whether a URI is neither a local folder nor S3: its package has errors of its own."""
    return "://" in uri and not s3.is_s3(uri) and not uri.startswith("memory://")


def first_line(error: Exception) -> str:
    """The first line of another package's error, or its class's name."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
