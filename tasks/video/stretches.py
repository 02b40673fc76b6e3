"""Probing a dump's clips before their frames are extracted: facts and stretches of each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

from stego_core.errors import ImageError
from tasks.corpus.listing import ESCAPED_NAME
from tasks.files import video_files
from tasks.files.image_names import storable
from tasks.files.left_out import is_clip, is_image
from tasks.storage.storage import File, Storage
from tasks.storage.threads import ContextThreadPool
from tasks.video.clip_errors import WatchedFile
from tasks.video.decoding import Clip, Facts
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder

STRETCH_SECONDS = 60
"""Length of a stretch."""
STRETCH_BYTES = 16 * 2**10
"""Least bytes of a stretch in the mean: a header may state a wrong length."""
PROBES = 8
"""Clips whose headers are read at the same time."""
STRETCH_COLUMNS = {
    "clip": "string",
    "folder": "string",
    "origin": "int64",
    "base_numerator": "int64",
    "base_denominator": "int64",
    "first": "int64",
    "last": "int64",
}
"""A stretch: its clip, the folder of its frames, the clip's clock, and its moments."""


def freeze(
    folder: Folder, source: Storage, files: Sequence[File], rate: Fraction, max_pixels: int
) -> None:
    """Write the tables of a dump's stretches and clips; that of clips is last and proves both.

    `files` are all those of the source, images included; `rate` counts moments per second. Clips
    whose frames have more than `max_pixels` are refused.
    """
    clips = [file for file in files if is_clip(file.path)]
    images = [storable(file.path) for file in files if is_image(file.path)]
    paths = [storable(file.path) for file in clips]
    with ContextThreadPool(PROBES) as pool:
        probes = list(pool.map(lambda file: _probed(source, file, max_pixels), clips))
    names = video_files.frame_folders(paths, images)
    clip_rows, stretch_rows = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for file, path, name, probed in zip(clips, paths, names, probes, strict=True):
        facts, origin = probed.facts, (path, name, file.bytes, file.version, probed.mark)
        if facts is None:
            clip_rows.append((*origin, 0, None, False, probed.reason))
            continue
        clip_rows.append((*origin, facts.pixels, facts.seconds, facts.exact, probed.reason))
        clock = (facts.origin, facts.base.numerator, facts.base.denominator)
        stretch_rows += [(path, name, *clock, *span) for span in _spans(facts, file.bytes, rate)]
    write_rows(folder, layout.STRETCHES_FILE, stretch_rows, STRETCH_COLUMNS)
    write_rows(folder, layout.CLIPS_FILE, clip_rows, video_files.CLIP_COLUMNS)


def write_rows(
    folder: Folder, name: str, rows: Sequence[Sequence[Any]], types: Mapping[str, str]
) -> None:
    """Write a table of a folder row by row; `types` are those of its columns, in order."""
    columns = {column: [row[i] for row in rows] for i, column in enumerate(types)}
    tables.write_table(folder.storage, f"{folder.path}/{name}", columns, types)


class Probed(NamedTuple):
    """A clip's fingerprint, its facts, and why it cannot be used; each None if not known."""

    mark: str | None
    facts: Facts | None
    reason: str | None = None


def _probed(source: Storage, file: File, max_pixels: int) -> Probed:
    """Read a clip's facts and fingerprint."""
    if ESCAPED_NAME in storable(file.path):
        reason = "its file name is not UTF-8; rename it and give it as a new dump"
        return Probed(None, None, reason)
    mark = None
    try:
        if not file.bytes:
            raise ImageError("the file is empty (0 bytes)")
        with opened(source, file.path, max_pixels) as clip:
            mark = video_files.fingerprint(source, file)
            return Probed(mark, clip.facts())
    except ImageError as error:
        return Probed(mark, None, str(error))


def _spans(facts: Facts, size: int, rate: Fraction) -> Iterator[tuple[int, int | None]]:
    """Moments of each stretch of a clip; the last one goes on to the clip's end."""
    most = max(size // STRETCH_BYTES, 1)
    count = min(max(int((facts.seconds or 0) // STRETCH_SECONDS), 1), most)
    edges = [round(number * STRETCH_SECONDS * rate) for number in range(count)]
    yield from zip(edges, [*edges[1:], None], strict=True)


@contextmanager
def opened(source: Storage, path: str, max_pixels: int) -> Iterator[Clip]:
    """Open a clip.

    Raises:
        ImageError: it is broken, is not there or may not be read. What may be a transient
            error of the network is raised as it is.
    """
    with ExitStack() as stack:
        try:
            clip = Clip(WatchedFile(stack.enter_context(source.opened(path))), max_pixels)
        except OSError as error:
            raise _unreadable(source, error) from None
        try:
            yield clip
        except OSError as error:
            raise _unreadable(source, error) if error is clip.source.error else error from None


def _unreadable(source: Storage, error: OSError) -> Exception:
    """The error to raise for a clip that cannot be read."""
    if source.is_local or isinstance(error, FileNotFoundError | PermissionError):
        return ImageError(f"cannot be read: {error.strerror or error}")
    return error
