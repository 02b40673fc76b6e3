"""Which images of a dump are frames of one sequence: by their videos, or by their names."""

from collections.abc import Iterator

from stego_core.video.frame_order import FramePosition, Links, linked, numbered
from tasks.corpus.index import IndexReader
from tasks.storage.run_cache import remembered


@remembered(2)
def links(index: IndexReader) -> Links:
    """The rows before and after each row of a dump."""
    return linked(_positions(index))


def _positions(index: IndexReader) -> Iterator[FramePosition | None]:
    if not index.has_clips:
        for paths in index.column("path"):
            yield from map(numbered, paths)
        return
    names = ("path", "clip", "seconds")
    for columns in zip(*map(index.column, names), strict=True):
        for path, clip, seconds in zip(*columns, strict=True):
            yield FramePosition(clip, round(1000 * seconds), True) if clip else numbered(path)
