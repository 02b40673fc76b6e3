"""What people browse: the dumps and classes of a workspace, its images by class and by doubt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError, OptionError, WorkspaceError
from tasks import classes, confidence, images, patches
from tasks.index import IndexReader
from tasks.summary import Summary
from tasks.workspace.ledger import Folder
from tasks.workspace.remembered import remembered
from tasks.workspace.workspace import Workspace

LEAST_SHARE = 0.005
"""An image shows a class from this share of its pixels on."""
Order: TypeAlias = Literal["doubtful", "index", "class"]


@dataclass(frozen=True)
class Item:
    """One image of the gallery, all shares 0 to 1.

    Attributes:
        dump: whose image.
        row: in the dump's index.
        image_id: as in the index.
        path: of the image's file, below the dump's folder.
        height: pixels, as displayed.
        width: pixels, as displayed.
        margin: mean margin of its pixels, 1 where all are sure.
        doubtful: share of its pixels that are doubtful.
        labelled: whether it has a true label.
        share: of its pixels that are of the class asked for; None where none was.
    """

    dump: str
    row: int
    image_id: str
    path: str
    height: int
    width: int
    margin: float
    doubtful: float
    labelled: bool
    share: float | None = None


class Page(NamedTuple):
    """A part of the gallery.

    Attributes:
        total: images that match, on all pages.
        items: of this page.
    """

    total: int
    items: list[Item]


def overview(workspace: Workspace) -> dict[str, Any]:
    """What there is to browse.

    Returns:
        `workspace`: its URI; `backbone`: name or None; `clusters`: key;
        `revision`, `stamp`, `note`: of the classes; `undo`: whether an edit can be undone;
        `dumps`: of each in order of arrival `name`, `images`, `labelled`, `quarantined`, `masks`
        (0: not browsable yet), `taxonomy` (names of the true classes, None without labels),
        `matches` (whether its patches can be searched);
        `classes`: of each cluster `id`, `name`, `colour`, `merged_into`, `ignored`, `shown` (id of
        the class it counts as, None where ignored), `share` (of the pixels of all masks that are
        of this cluster, 0 to 1; those of clusters merged into it are not in it).

    Raises:
        WorkspaceError: there are no clusters yet.
        InputError: `classes.toml` makes no sense.
    """
    raise NotImplementedError


def page(
    workspace: Workspace,
    dump: str | None = None,
    cls: int | None = None,
    labelled: bool | None = None,
    order: Order = "doubtful",
    offset: int = 0,
    limit: int = 60,
) -> Page:
    """Some images that have masks.

    Args:
        workspace: whose images.
        dump: of which dump; None: of all, in order of arrival.
        cls: id of a class as shown; only images that show it, with what is merged into it.
        labelled: only images with a true label, or only those without.
        order: "doubtful": the smallest mean margin first; "index": as they were indexed; "class":
            the largest share of `cls` first.
        offset: images to pass over.
        limit: images at most.

    Raises:
        InputError: there is no such dump.
        OptionError: there is no such class, or "class" was asked for without one.
        WorkspaceError: no dump has masks, or they were made without confidence.
    """
    raise NotImplementedError


def image(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 RGB of an image, as displayed.

    Raises:
        InputError: there is no such image.
        ImageError: it cannot be read any more, or is not what was indexed.
    """
    raise NotImplementedError


def mask(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Stored cluster ids (H, W) uint8 of an image; `classes.shown()` tells what they count as.

    Raises:
        InputError: there is no such image, or it has no mask.
    """
    raise NotImplementedError


def margins(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Margins (H, W) uint8 of an image's pixels: 255 where its class is sure.

    Raises:
        InputError: there is no such image, or it has no mask.
    """
    raise NotImplementedError


def labels(workspace: Workspace, dump: str, row: int) -> NDArray[np.int16] | None:
    """True class ids (H, W) int16 of an image, void −1; None if it has no label.

    Raises:
        InputError: there is no such image.
        ImageError: the label cannot be read any more, or is not what was indexed.
    """
    raise NotImplementedError
