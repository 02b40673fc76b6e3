"""Errors of file systems and object stores, as errors that a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stego_core.errors import CapacityError, StegoError, WorkspaceError
from tasks.storage import s3

CREDENTIALS = "give credentials through the environment or the service's own files"
PERMANENT = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)
"""What an operating system raises where writing will not work the next time either."""
PERMANENT_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG)
"""Numbers of errors without a class of their own, of which the same is true."""
FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors that say: there is no space."""


@contextmanager
def read_errors(uri: str) -> Iterator[None]:
    """Turn errors of looking at a workspace into errors that a person can act on."""
    try:
        yield
    except PermissionError as error:
        raise WorkspaceError(f"{uri} cannot be read: {error}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        if not has_own_errors(uri) or isinstance(error, StegoError | ValueError | TypeError):
            raise
        raise WorkspaceError(f"{uri} cannot be read: {first_line(error)}") from None


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
    """Whether a place is neither a local folder nor S3: its package has errors of its own."""
    return "://" in uri and not s3.is_s3(uri) and not uri.startswith("memory://")


def first_line(error: Exception) -> str:
    """The first line of what another package raised, or its class's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
