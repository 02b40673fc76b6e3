"""The form of --images: files, archives, lists of addresses, or what an earlier dump lacks."""

import posixpath
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from stego_core.errors import InputError
from tasks.files import patterns
from tasks.storage.redaction import is_http
from tasks.storage.storage import File, Storage
from tasks.storage.threads import ContextThreadPool

AGAIN = "quarantined://"  # before the name of a dump whose quarantined files are tried again
LISTS = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt", ".lst"}
PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
ASKED_AT_ONCE = 16  # archives whose sizes are asked for at the same time


class Form(StrEnum):
    """What --images names."""

    FILES = "files"  # a folder, a pattern of files, or one file
    TAR = "tar"
    ZIP = "zip"
    LIST = "list"
    AGAIN = "quarantined"


class Object(NamedTuple):
    """An archive or a list."""

    uri: str  # path or URI
    bytes: int
    version: str  # ETag or time of change


def form_of(location: str) -> Form:
    """The form of a location, by its ending; a folder is a folder whatever its name.

    Raises:
        InputError: it is a compressed tar, which cannot be read by ranges.
    """
    if location.startswith(AGAIN):
        return Form.AGAIN
    plain = (location.partition("?")[0] if is_http(location) else location).lower()
    if "://" not in location and Path(location).expanduser().is_dir():
        return Form.FILES
    if plain.endswith(PACKED_TARS):
        raise InputError(
            f"{location} is compressed as a whole, so no image in it can be read without all "
            "before it; unpack it to a .tar (JPEG and PNG hardly shrink), or into a folder"
        )
    ending = posixpath.splitext(plain)[1]
    if ending in (".tar", ".zip"):
        return Form(ending[1:])
    return Form.LIST if ending in LISTS else Form.FILES


def objects_of(location: str) -> tuple[list[Object], dict[str, str]]:
    """The archives or lists that a location names, sorted, and why others cannot be had, by URI.

    Raises:
        InputError: there is none.
    """
    uri = Storage.at(location).uri
    if not patterns.is_pattern(uri):
        names = [uri]
    elif not patterns.has_wildcards(uri):
        names = patterns.expanded(uri)
    elif is_http(uri):
        raise InputError(
            f"{uri}: a web server has no list of its files; name them, as in x-{{000..099}}.tar"
        )
    else:
        return _found(uri), {}
    with ContextThreadPool(ASKED_AT_ONCE) as pool:
        asked = list(pool.map(_object_or_reason, sorted(names)))
    present = [each for each in asked if isinstance(each, Object)]
    missing = {
        uri: why for uri, why in zip(sorted(names), asked, strict=True) if isinstance(why, str)
    }
    if not present:
        raise InputError(f"{uri} cannot be read: {next(iter(missing.values()))}")
    return present, missing


def _found(pattern: str) -> list[Object]:
    folder, matches = patterns.split(pattern)
    root = Storage(folder)
    files = [file for file in root.files() if matches(file.path)]
    if not files:
        raise InputError(f"no file matches {pattern}")
    return [_object(root.full(file.path), file) for file in files]


def _object_or_reason(uri: str) -> Object | str:
    """A file's size and version; a sentence where it cannot be had."""
    try:
        files = Storage(uri).files()
    except InputError as error:
        return str(error)
    if [file.path for file in files] != ["."]:
        return f"{uri} is no file"
    return _object(uri, files[0])


def _object(uri: str, file: File) -> Object:
    return Object(uri, file.bytes, file.version)
