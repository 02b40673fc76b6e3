"""Lessons: points of images and their classes, in files that are added and never rewritten.

`lessons/NUMBER-DIGEST.json` holds what one person taught at once. Two who teach at the same time
write two files, whatever their numbers are, so nothing is lost. A lesson names its image and its
pixel, not a patch or a cluster: it outlives heads, backbones and clusters.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stego_core.errors import DamageError, InputError, WorkspaceError
from stego_core.labels.class_names import LONGEST_NAME
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout

FILE = re.compile(r"(\d{6})-[0-9a-f]{16}\.json")
"""Name of a file of lessons."""


class Lesson(NamedTuple):
    """What one pixel shows.

    Attributes:
        dump, image_id: the image.
        x, y: the pixel, from the top left of the image as displayed.
        name: of the class.
        clusters: key of the clusters whose names people saw.
    """

    dump: str
    image_id: str
    x: int
    y: int
    name: str
    clusters: str

    @property
    def pixel(self) -> tuple[str, str, int, int]:
        """What it is a lesson of: a later one of the same pixel takes its place."""
        return self[:4]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str = ""
    undoes: str | None = None
    clusters: str = ""
    lessons: list[tuple[str, str, int, int, str]] = Field(default_factory=list)
    predicted: str = ""


@dataclass(frozen=True)
class LessonFile:
    """What was taught at once.

    Attributes:
        file: its name.
        note: what people are told of it.
        undoes: name of the file whose lessons count no more; None of any other.
        predicted: of an answer to a question, the class that was shown before it was given.
    """

    file: str
    note: str
    lessons: tuple[Lesson, ...] = ()
    undoes: str | None = None
    predicted: str = ""


def add(storage: Storage, lessons: Sequence[Lesson], note: str, predicted: str = "") -> LessonFile:
    """Store what was taught at once, all of it by the names of the same clusters."""
    (clusters,) = {lesson.clusters for lesson in lessons}
    rows = [tuple(lesson)[:-1] for lesson in lessons]
    document = _Document(note=note, clusters=clusters, lessons=rows, predicted=predicted)
    return _write(storage, document)


def undo(storage: Storage) -> LessonFile:
    """Take back what was taught last and not taken back yet; that is a file of its own.

    Raises:
        WorkspaceError: there is nothing to take back.
    """
    taught = counting(history(storage))
    if not taught:
        raise WorkspaceError("no lesson is there to be taken back; teach some first")
    last = taught[-1]
    return _write(storage, _Document(note=f"undo: {last.note}", undoes=last.file))


def in_force(storage: Storage) -> list[Lesson]:
    """All lessons that count, oldest first; of one pixel only the last."""
    return in_force_of(history(storage))


def in_force_of(files: Sequence[LessonFile]) -> list[Lesson]:
    """The same of files that were read."""
    return last_of_each_pixel(each for file in counting(files) for each in file.lessons)


def last_of_each_pixel(lessons: Iterable[Lesson]) -> list[Lesson]:
    """Without those that a later one of the same pixel takes the place of."""
    by_pixel: dict[tuple[str, str, int, int], Lesson] = {}
    for lesson in lessons:
        by_pixel.pop(lesson.pixel, None)
        by_pixel[lesson.pixel] = lesson
    return list(by_pixel.values())


def checked_class(name: str) -> str:
    """The name of a class as people write it; InputError if it cannot be one."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise InputError(
            f"the class is {name!r}; expected 1 to {LONGEST_NAME} printable characters"
        )
    return name


def history(storage: Storage) -> list[LessonFile]:
    """Every file of lessons, oldest first; of two with one number in the same order for all."""
    return [read(storage, name) for name in names(storage)]


def read(storage: Storage, name: str) -> LessonFile:
    """A file of lessons; DamageError if it is none."""
    path = f"{layout.LESSONS}/{name}"
    try:
        document = _Document.model_validate_json(storage.read(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DamageError(
            f"{path} holds no lessons ({where}: {first['msg']}); restore it, or remove it to go "
            "on without what it taught"
        ) from None
    lessons = tuple(Lesson(*row, document.clusters) for row in document.lessons)
    return LessonFile(name, document.note, lessons, document.undoes, document.predicted)


def counting(files: Sequence[LessonFile]) -> list[LessonFile]:
    """The files that nobody took back, oldest first."""
    undone = {file.undoes for file in files}
    return [file for file in files if file.undoes is None and file.file not in undone]


def names(storage: Storage) -> list[str]:
    """Names of all files of lessons, oldest first."""
    return sorted(filter(FILE.fullmatch, storage.names(layout.LESSONS)))


def _write(storage: Storage, document: _Document) -> LessonFile:
    content = document.model_dump_json(exclude_defaults=True, indent=1).encode()
    there = names(storage)
    number = int(there[-1].partition("-")[0]) + 1 if there else 0
    name = f"{number:06d}-{keys.digest(content)[: keys.KEY_LENGTH]}.json"
    storage.write(f"{layout.LESSONS}/{name}", content)
    return read(storage, name)
