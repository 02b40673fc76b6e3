"""Frames of a dump in order: by their clips where it has some, else by their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from stego_core.video.frame_order import NONE, Links
from tasks.corpus.index import IndexReader
from tasks.storage.run_cache import during
from tasks.video import frame_order


@dataclass(frozen=True)
class Index:
    """Columns of an index, two rows a group."""

    columns: tuple[tuple[str, tuple[Any, ...]], ...]

    @property
    def has_clips(self) -> bool:
        return "clip" in dict(self.columns)

    def column(self, name: str) -> Iterator[list[Any]]:
        values = dict(self.columns)[name]
        yield from (list(values[first : first + 2]) for first in range(0, len(values), 2))


def links(**columns: tuple[Any, ...]) -> Links:
    with during("test of frame order"):
        return frame_order.links(cast(IndexReader, Index(tuple(columns.items()))))


def test_names_tell_where_there_are_no_clips() -> None:
    found = links(path=("a/3.png", "a/1.png", "b/x.png", "a/2.png"))
    assert found.following.tolist() == [NONE, 3, NONE, 0]
    assert found.previous.tolist() == [3, NONE, NONE, 1]


def test_frames_follow_by_time_and_images_beside_them_by_name() -> None:
    found = links(
        path=("c/t0.jpg", "c/t2.jpg", "1.png", "2.png", "c/t1.jpg"),
        clip=("c.mp4", "c.mp4", None, None, "c.mp4"),
        seconds=(0.0, 7.5, None, None, 1 / 3),
    )
    assert found.following.tolist() == [4, NONE, 3, NONE, 1]
    assert found.previous.tolist() == [NONE, 4, NONE, 2, 0]


def test_an_image_named_like_a_clip_is_no_frame_of_it() -> None:
    found = links(path=("a1", "a2"), clip=("a#", None), seconds=(0.0, None))
    assert found.following.tolist() == [NONE, NONE]
