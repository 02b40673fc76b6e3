"""What a request names, checked: the explorer that answers, a dump, an image, a point."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np
from fastapi import Depends, Path, Query
from starlette.requests import Request

from flows.explorer.state import Explorer
from stego_core.errors import InputError
from tasks.corpus.index import IndexReader
from tasks.workspace.workspace import DUMP_NAME, Workspace

MOST_ROWS = 2**31
"""Images of a dump at most."""
NAMED = 20
"""Dumps that a message names."""
Document: TypeAlias = dict[str, Any]
"""What is sent as JSON."""


def _explorer(request: Request) -> Explorer:
    explorer: Explorer = request.app.state.explorer
    return explorer


Open: TypeAlias = Annotated[Explorer, Depends(_explorer)]
"""The explorer that answers."""


def known_dump(workspace: Workspace, name: str) -> str:
    """The name of a dump; InputError if there is no such one."""
    if not DUMP_NAME.fullmatch(name) or not workspace.corpus(name).finished:
        dumps = workspace.dumps()
        more = f" and {len(dumps) - NAMED} others" * (len(dumps) > NAMED)
        named = ", ".join(dumps[-NAMED:])
        raise InputError(f"there is no dump {name[:100]!r}; there are {named}{more}")
    return name


def _known_image(workspace: Workspace, dump: str, row: int) -> tuple[str, int]:
    reader = IndexReader(workspace, known_dump(workspace, dump))
    images = int(reader.manifest["images"])
    if row >= images:
        raise InputError(f"there is no image {row} in dump {dump}; they are 0 to {images - 1}")
    return dump, row


Row: TypeAlias = Annotated[int, Path(ge=0, le=MOST_ROWS)]
"""A row that an address names."""


def _image(explorer: Open, dump: str, row: Row) -> tuple[str, int]:
    return _known_image(explorer.workspace, dump, row)


Share: TypeAlias = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)]


def _point(
    explorer: Open, dump: str, row: Annotated[int, Query(ge=0, le=MOST_ROWS)], y: Share, x: Share
) -> tuple[str, int, float, float]:
    return *_known_image(explorer.workspace, dump, row), y, x


Image: TypeAlias = Annotated[tuple[str, int], Depends(_image)]
"""Dump and row of the image that an address names."""
Point: TypeAlias = Annotated[tuple[str, int, float, float], Depends(_point)]
"""Dump and row of an image, and y and x of a point in shares of its height and width."""


def described(workspace: Workspace, images: Sequence[tuple[str, int]]) -> list[Document]:
    """What the page needs to know of images, given by dump and row: `dump`, `row`, `path`,
    `height`, `width`, `labelled`.
    """
    entries: dict[tuple[str, int], Document] = {}
    for dump in {dump for dump, _ in images}:
        rows = sorted({row for own, row in images if own == dump})
        read = IndexReader(workspace, dump).entries(np.array(rows, np.int64))
        entries.update(((dump, row), entry) for row, entry in zip(rows, read, strict=True))
    return [
        {
            **dict(zip(("dump", "row"), image, strict=True)),
            **{name: entries[image][name] for name in ("path", "height", "width")},
            "labelled": entries[image]["label_digest"] is not None,
        }
        for image in images
    ]
