"""The images of a listing: of files, of pages and of frames, each with its names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from operator import attrgetter
from typing import Any, NamedTuple

from tasks.files import tiff_pages
from tasks.files.image_names import page_name, stem, storable
from tasks.storage.spool import Spool
from tasks.storage.storage import File, Storage


class Entry(NamedTuple):
    """An image of a listing."""

    file: File  # the file that it lies in
    whole: str  # its name with the file's ending
    short: str  # its name without
    page: int | None = None  # its number in the file, from 0; None where the file has one page
    moment: tuple[str, float] | None = None  # clip and seconds of a video's frame; None of others

    @classmethod
    def of(cls, row: Sequence[Any]) -> "Entry":
        """From a row of a spool."""
        file, whole, short, page, moment = row
        return cls(File._make(file), whole, short, page, moment and (moment[0], moment[1]))


def entries_of(
    root: Storage,
    files: Iterable[File],
    frames: Iterable[Mapping[str, Any]] | None,
    every_page: bool,
    spool: Spool,
) -> Iterator[Entry]:
    """The images of files, which are sorted, and the frames of videos, in the order of paths."""
    of_files = _entries_of_files(root, files, every_page)
    if frames is None:
        return of_files
    of_frames = spool.sorted(map(_entry_of_frame, frames), Entry.of)
    return merge(of_files, of_frames, key=attrgetter("file"))


def _entries_of_files(root: Storage, files: Iterable[File], every_page: bool) -> Iterator[Entry]:
    for file in files:
        name = storable(file.path)
        total = _pages(root, file) if every_page else 1
        if total == 1:
            yield Entry(file, name, stem(name))
        for page in range(total) if total > 1 else ():
            whole, short = (page_name(part, page) for part in (name, stem(name)))
            yield Entry(file, whole, short, page)


def _entry_of_frame(frame: Mapping[str, Any]) -> Entry:
    path, moment = frame["path"], (frame["clip"], frame["seconds"])
    return Entry(File(path, frame["bytes"], "", 0.0), path, stem(path), None, moment)


def _pages(root: Storage, file: File) -> int:
    if not tiff_pages.may_have_pages(file.path):
        return 1
    try:
        with root.opened(file.path) as tiff:
            return tiff_pages.count(tiff)
    except OSError:
        return 1  # it is quarantined when it is read
