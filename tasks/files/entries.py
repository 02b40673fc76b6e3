"""The images of a listing: of files, of pages and of frames, each with its names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.files import tiff_pages
from tasks.files.image_names import page_name, stem, storable
from tasks.storage.storage import File, Storage


class Entry(NamedTuple):
    """An image of a listing."""

    file: File  # the file that it lies in
    whole: str  # its name with the file's ending
    short: str  # its name without
    page: int | None = None  # its number in the file, from 0; None where the file has one page
    moment: tuple[str, float] | None = None  # clip and seconds of a video's frame; None of others


def entries_of(
    root: Storage, files: Sequence[File], frames: Mapping[str, list[Any]] | None, every_page: bool
) -> list[Entry]:
    """The images of files and the frames of videos, in the order of their paths."""
    entries: list[Entry] = []
    for file in files:
        name = storable(file.path)
        total = _pages(root, file) if every_page else 1
        if total == 1:
            entries.append(Entry(file, name, stem(name)))
        for page in range(total) if total > 1 else ():
            whole, short = (page_name(part, page) for part in (name, stem(name)))
            entries.append(Entry(file, whole, short, page))
    if frames is not None:
        for path, size, clip, seconds in zip(
            frames["path"], frames["bytes"], frames["clip"], frames["seconds"], strict=True
        ):
            file = File(path, size, "", 0.0)
            entries.append(Entry(file, path, stem(path), None, (clip, seconds)))
        entries.sort(key=lambda entry: entry.file)
    return entries


def _pages(root: Storage, file: File) -> int:
    if not tiff_pages.may_have_pages(file.path):
        return 1
    try:
        with root.opened(file.path) as tiff:
            return tiff_pages.count(tiff)
    except OSError:
        return 1  # it is quarantined when it is read
