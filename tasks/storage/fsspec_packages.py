"""File systems besides S3 and the web, as fsspec knows them; their packages may be missing."""

import errno
import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import fsspec
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from stego_core.errors import InputError, OutageError, StegoError
from tasks.storage.refusal_errors import first_line, has_own_errors

EXTRAS = {"gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure", "hf": "hf"}
"""The extra of stego-flows that reads a protocol."""
LATER = (408, 429)
"""Statuses below 500 that ask to come again later."""
ABSENT = "there is no such file, or no access to it"
CHANGES = ("LastModified", "last_modified", "mtime", "created")
"""What packages call the time of a file's last change, the best first."""
VERSIONS = ("ETag", "etag", "blob_id")
"""What they call the service's mark of a file's content."""


@lru_cache(maxsize=32)
def filesystem_of(uri: str) -> Any:
    """The file system of a path or URI; an InputError where its package is missing or refuses."""
    # It warns at every request where it may not ask what kind of bucket it reads.
    logging.getLogger("gcsfs").setLevel(logging.ERROR)
    try:
        filesystem, _ = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        extra = EXTRAS.get(uri.split("://")[0])
        remedy = f"`pip install 'stego-flows[{extra}]'` makes it readable" if extra else ""
        raise InputError(f"{uri} cannot be opened: {remedy or first_line(error)}") from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"{uri} is not a path or URI that can be opened: {first_line(error)}"
        ) from None
    except Exception as error:  # packages of other stores look for credentials and networks here
        raise InputError(f"{uri} cannot be reached: {first_line(error)}") from None
    return filesystem


def asynchronous(uri: str) -> tuple[Any, str]:
    """The file system of a URI for use in an event loop, and the URI's path in it.

    Each call runs in a thread: asynchronous clients of adlfs complain when a process ends.
    """
    filesystem = filesystem_of("/".join(uri.split("/")[:3]))
    wrapper = AsyncFileSystemWrapper(filesystem, asynchronous=True)
    return wrapper, str(filesystem._strip_protocol(uri))


def reading_options(uri: str) -> dict[str, Any]:
    """What `cat_file` is given, so that it fetches what is asked for and nothing beside it."""
    return {"cache_type": "none"} if uri.startswith("hf://") else {}


def infos(filesystem: Any, root: str) -> Iterator[dict[str, Any]]:
    """What a file system tells of each file below a folder; of a file, itself."""
    found = filesystem.find(root, detail=True)
    if isinstance(found, list):  # adlfs, of a single file
        yield from map(filesystem.info, found)
    else:
        for name, info in found.items():
            yield {**info, "name": name}


def changed(info: dict[str, Any]) -> float:
    """Time of a file's last change, seconds since 1970; 0 where the store does not say."""
    moment = next((info[name] for name in CHANGES if info.get(name)), 0.0)
    return float(getattr(moment, "timestamp", lambda: moment)())


def version(info: dict[str, Any]) -> str:
    """A text that differs where a file's content differs: the service's mark, or the time."""
    mark = next((info[name] for name in VERSIONS if info.get(name)), changed(info))
    return str(mark).strip('"')


def reason(error: Exception, uri: str) -> str:
    """What an error says, in a line; of files that are not there, gcsfs says only an address."""
    is_bare = isinstance(error, FileNotFoundError) and not error.errno and has_own_errors(uri)
    return ABSENT if is_bare else first_line(error)


def reading_error(error: Exception, uri: str) -> Exception:
    """A package's error of reading a file as one of an operating system, or as an OutageError.

    An OSError with a number and an error of ours are returned as they are.
    """
    if isinstance(error, StegoError) or (isinstance(error, OSError) and error.errno):
        return error
    status, line = _status(error), first_line(error)
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(errno.ENOENT, ABSENT, uri)
    if status == 416:
        return OSError(errno.EINVAL, line, uri)
    refused = 400 <= status < 500 and status not in LATER
    if refused or isinstance(error, PermissionError | ValueError | TypeError):
        return PermissionError(errno.EACCES, line, uri)
    return OutageError(
        f"{uri} cannot be read: {line}; see to the service and run the same command again: "
        "finished shards are kept"
    )


class ToldFile:
    """A file of a package, whose errors of reading are those of `reading_error`."""

    def __init__(self, file: Any, uri: str) -> None:
        """An open file."""
        self.file, self.uri = file, uri

    def __getattr__(self, name: str) -> Any:
        """All else is the file's own."""
        return getattr(self.file, name)

    def read(self, *size: int) -> bytes:
        """As the file reads."""
        try:
            return bytes(self.file.read(*size))
        except Exception as error:
            raise reading_error(error, self.uri) from None


def _status(error: Exception) -> int:
    """The status of the answer that an error tells of; 0 where it tells of none."""
    if str(error).startswith("Forbidden: "):  # gcsfs
        return 403
    response = getattr(error, "response", None)
    for owner, name in ((error, "status_code"), (error, "code"), (response, "status_code")):
        value = getattr(owner, name, None)
        if isinstance(value, int | str) and str(value).isdigit():
            return int(value)
    return 0
