"""Refusals to read or write a place, as errors that a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stego_core.errors import CapacityError, StegoError, WorkspaceError
from tasks.workspace import s3

CREDENTIALS = "give credentials through the environment or the service's own files"
REFUSALS = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)
"""What an operating system answers where writing will not work the next time either."""


@contextmanager
def read_errors(uri: str) -> Iterator[None]:
    """Turn refusals to look at a workspace into errors a person can act on."""
    try:
        yield
    except PermissionError as error:
        raise WorkspaceError(f"{uri} cannot be read: {error}") from None
    except s3.NO_ACCESS as error:
        raise WorkspaceError(f"{uri} cannot be read: {error}; {CREDENTIALS}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        if not _is_foreign(uri) or isinstance(error, StegoError | ValueError | TypeError):
            raise
        raise WorkspaceError(f"{uri} cannot be read: {_first_line(error)}") from None


def _is_foreign(uri: str) -> bool:
    """Whether a place is neither a local folder nor S3: its package has errors of its own."""
    return "://" in uri and not s3.is_s3(uri) and not uri.startswith("memory://")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def write_errors(uri: str) -> Iterator[None]:
    """Turn the operating system's refusals to write into errors a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise CapacityError(
                f"no space is left to write to {uri} ({error.strerror}); free some and run the "
                "same command again: finished shards are kept"
            ) from None
        if isinstance(error, REFUSALS) or error.errno in (errno.EROFS, errno.ENAMETOOLONG):
            raise WorkspaceError(f"{uri} cannot be written: {error}") from None
        raise
    except s3.NO_ACCESS as error:
        raise WorkspaceError(f"{uri} cannot be written: {error}; {CREDENTIALS}") from None
    except Exception as error:
        if not _is_foreign(uri) or isinstance(error, StegoError):
            raise
        raise WorkspaceError(f"{uri} cannot be written: {_first_line(error)}") from None
