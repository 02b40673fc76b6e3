"""Files of points: the image, the pixel and the class of each lesson, one a row."""

import csv
import io
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from stego_core.errors import ImageError, InputError
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import file_at, read_file
from tasks.teaching.lessons import Lesson, checked_class
from tasks.workspace.workspace import Workspace

COLUMNS = ("image", "x", "y", "class")
"""Of the file; a column `dump` may say in which dump an image lies, others are left alone."""


@dataclass(frozen=True)
class ReadPoints:
    """What a file says.

    Attributes:
        problems: why rows cannot be used, with their line.
    """

    lessons: list[Lesson]
    problems: list[str]


class Listed:
    """Some images of dumps by their paths as listed, with or without ending, ids and file names."""

    def __init__(self, workspace: Workspace, dumps: list[str], wanted: Set[str]) -> None:
        """Those that go by one of these names; indexes are read a few thousand rows at a time."""
        self._by_name: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for dump in dumps:
            columns = ("image_id", "path", "height", "width")
            for part in IndexReader(workspace, dump).columns(columns):
                for image_id, path, height, width in zip(*map(part.get, columns), strict=True):
                    image = {"image_id": str(image_id), "height": int(height), "width": int(width)}
                    whole = PurePosixPath(str(path))
                    stem = str(whole.with_suffix(""))
                    names = {str(path), str(image_id), whole.name, stem, whole.stem}
                    for name in names & wanted:
                        self._by_name.setdefault(name, []).append((dump, image))

    def has(self, name: str, dump: str | None) -> bool:
        """Whether at least one image is called so."""
        return bool(self._found(name, dump))

    def _found(self, name: str, dump: str | None) -> list[tuple[str, dict[str, Any]]]:
        return [each for each in self._by_name.get(name, []) if dump in (None, each[0])]

    def find(self, name: str, dump: str | None) -> tuple[str, dict[str, Any]]:
        """The dump and the index entry of an image; an InputError that says what is wrong."""
        found = self._found(name, dump)
        where = f" of dump {dump}" if dump else ""
        if not found:
            raise InputError(f"there is no image {name!r}{where}; expected a path as listed")
        if len(found) > 1:
            dumps = sorted({each[0] for each in found})
            raise InputError(
                f"{len(found)} images{where} are called {name!r} (in {', '.join(dumps)}); give "
                "the path as listed, and a column `dump`"
            )
        return found[0]


def read_points(
    workspace: Workspace, location: str, dumps: list[str], clusters_key: str
) -> ReadPoints:
    """Lessons of a CSV file with the columns `image`, `x`, `y`, `class`.

    Args:
        location: path or URI of the file.
        dumps: among whose images those of the file are.
        clusters_key: of the clusters whose names people saw.

    Raises:
        InputError: the file cannot be read or lacks a column, or none of its rows can be used.
    """
    rows = csv.DictReader(io.StringIO(_text(location), newline=""))
    header = [name.strip() for name in rows.fieldnames or ()]
    if missing := [name for name in COLUMNS if name not in header]:
        raise InputError(
            f"{location} lacks the column {', '.join(missing)}; its first line is "
            f"{','.join(header)!r}, expected {','.join(COLUMNS)!r}"
        )
    rows.fieldnames = header
    numbered = [(rows.line_num, _fields(row)) for row in rows]
    listed = Listed(workspace, dumps, {fields["image"] for _, fields in numbered})
    lessons, problems = list[Lesson](), list[str]()
    for line, fields in numbered:
        try:
            lessons.append(_lesson(fields, listed, clusters_key))
        except InputError as error:
            problems.append(f"line {line}: {error}")
    if not lessons:
        first = f": {problems[0]}" if problems else "; it has no rows"
        raise InputError(f"no row of {location} can be used{first}")
    return ReadPoints(lessons, problems)


def _text(location: str) -> str:
    try:
        return read_file(*file_at(location)).decode("utf-8-sig")
    except (ImageError, UnicodeDecodeError) as error:
        raise InputError(f"{location} cannot be read as text ({error})") from None


def _fields(row: Mapping[str | Any, Any]) -> dict[str, str]:
    return {name: (row.get(name) or "").strip() for name in (*COLUMNS, "dump")}


def _lesson(text: Mapping[str, str], listed: Listed, clusters_key: str) -> Lesson:
    dump, entry = listed.find(text["image"], text["dump"] or None)
    x, y = (_pixel(text[axis], axis, entry) for axis in ("x", "y"))
    name = checked_class(text["class"])
    return Lesson(dump, entry["image_id"], x, y, name, clusters_key)


def _pixel(text: str, axis: str, entry: Mapping[str, Any]) -> int:
    """A coordinate; pixels are numbered from 0, and a fraction lies within one."""
    size = entry["width" if axis == "x" else "height"]
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{axis} is {text!r}; expected a number") from None
    if not 0 <= value < size:
        raise InputError(f"{axis} is {text}; the image has 0 to {size - 1}")
    return int(value)
