"""Looking into a dump's clips before their frames are cut: what each is, and its stretches."""

from collections.abc import Iterator, Sequence
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
from tasks.video.decoding import Clip, ClipSummary, Facts
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder

STRETCH_SECONDS = 60
STRETCH_BYTES = 16 * 2**10
"""At least so much of a clip is a stretch: a header may lie about the length."""
PROBES = 8
"""Clips whose headers are read at the same time."""
STRETCHES = layout.STRETCHES_FILE
STRETCH_COLUMNS = {
    "clip": "string",
    "folder": "string",
    "origin": "int64",
    "base_numerator": "int64",
    "base_denominator": "int64",
    "first": "int64",
    "last": "int64",
}


def freeze(
    folder: Folder, source: Storage, files: Sequence[File], rate: Fraction, max_pixels: int
) -> None:
    """Write the lists of a dump's stretches and clips; the latter says that both are there.

    Args:
        folder: where the dump's frames will lie.
        source: where the clips lie.
        files: all that lies there, images included.
        rate: moments per second.
        max_pixels: clips with larger frames are refused.
    """
    found = [file for file in files if is_clip(file.path)]
    beside = [storable(file.path) for file in files if is_image(file.path)]
    paths = [storable(file.path) for file in found]
    with ContextThreadPool(PROBES) as pool:
        known = list(pool.map(lambda file: _probed(source, file, max_pixels), found))
    columns: dict[str, list[Any]] = {name: [] for name in video_files.CLIP_COLUMNS}
    stretches: dict[str, list[Any]] = {name: [] for name in STRETCH_COLUMNS}
    names = video_files.frame_folders(paths, beside)
    for file, path, name, probed in zip(found, paths, names, known, strict=True):
        facts = probed.facts
        stated = (facts.pixels, facts.seconds, facts.exact) if facts else (0, None, False)
        values = (path, name, file.bytes, file.version, probed.mark, *stated, probed.reason)
        for column, value in zip(video_files.CLIP_COLUMNS, values, strict=True):
            columns[column].append(value)
        if facts is None:
            continue
        base = facts.base
        for first, last in _cut(facts, file.bytes, rate):
            row = (path, name, facts.origin, base.numerator, base.denominator, first, last)
            for column, value in zip(STRETCH_COLUMNS, row, strict=True):
                stretches[column].append(value)
    tables.write_table(folder.storage, f"{folder.path}/{STRETCHES}", stretches, STRETCH_COLUMNS)
    tables.write_table(
        folder.storage, f"{folder.path}/{layout.CLIPS_FILE}", columns, video_files.CLIP_COLUMNS
    )


class Probed(NamedTuple):
    """A clip's fingerprint, what its header tells, and why it cannot be used; each if known."""

    mark: str | None
    facts: Facts | None
    reason: str | None = None


def _probed(source: Storage, file: File, max_pixels: int) -> Probed:
    """Look into a clip."""
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


def _cut(facts: Facts, size: int, rate: Fraction) -> Iterator[tuple[int, int | None]]:
    """Moments of each stretch of a clip; the last one goes on to the clip's end."""
    most = max(size // STRETCH_BYTES, 1)
    count = min(max(int((facts.seconds or 0) // STRETCH_SECONDS), 1), most)
    edges = [round(number * STRETCH_SECONDS * rate) for number in range(count)]
    yield from zip(edges, [*edges[1:], None], strict=True)


@contextmanager
def opened(source: Storage, path: str, max_pixels: int) -> Iterator[Clip]:
    """A clip for reading.

    Raises:
        ImageError: it is broken, is not there or may not be read. What may be the network's
            weather is raised as it is.
    """
    with ExitStack() as stack:
        try:
            clip = Clip(ClipSummary(stack.enter_context(source.opened(path))), max_pixels)
        except OSError as error:
            raise _unreadable(source, error) from None
        try:
            yield clip
        except OSError as error:
            raise _unreadable(source, error) if error is clip.source.error else error from None


def _unreadable(source: Storage, error: OSError) -> Exception:
    """What to raise for a clip that cannot be read."""
    if source.is_local or isinstance(error, FileNotFoundError | PermissionError):
        return ImageError(f"cannot be read: {error.strerror or error}")
    return error
