"""One image that the page sends: labelled as the dumps are, and kept nowhere."""

import threading
from typing import Any, NamedTuple

from stego_core.errors import InputError
from tasks.browse import pictures
from tasks.browse.pictures import VIEW_SIDE
from tasks.images.image_codecs import encode_mask
from tasks.workspace.workspace import Workspace


class Labelled(NamedTuple):
    """An image and its mask, as files.

    `image`: JPEG; `mask`: grey PNG of stored cluster ids, as large as that; `file`: the palette
    PNG of class ids that `stego segment` writes, of the image's own size.
    """

    height: int
    width: int
    image: bytes
    mask: bytes
    file: bytes


class LooseImages:
    """Labels one image at a time, and has the last one at hand until the next comes."""

    def __init__(self, workspace: Workspace) -> None:
        """With this workspace's head, clusters and names."""
        self.workspace = workspace
        self.lock = threading.Lock()
        self.number = 0
        self.last: Labelled | None = None

    def label(self, content: bytes) -> dict[str, Any]:
        """Label an image file; its number and size.

        Raises:
            ImageError: it cannot be read, or holds no data.
            WorkspaceError: there are no clusters yet.
        """
        with self.lock:
            self.last = labelled(self.workspace, content)
            self.number += 1
            return {"number": self.number, "height": self.last.height, "width": self.last.width}

    def get(self, number: int) -> Labelled:
        """The last one; InputError if it is not the one of this number."""
        if self.last is None or number != self.number:
            raise InputError("this image is no longer at hand; send it again")
        return self.last


def labelled(workspace: Workspace, content: bytes) -> Labelled:
    """Label an image file; raises as `LooseImages.label`."""
    from flows.api import open_workspace  # torch takes seconds

    opened = open_workspace(workspace.storage.uri)
    picture = opened.read(content)
    clusters = opened.clusters(picture)
    classes = opened.classes
    height, width = clusters.shape
    return Labelled(
        height,
        width,
        pictures.photo(picture.pixels, VIEW_SIDE),
        pictures.ids(clusters, VIEW_SIDE),
        encode_mask(classes.display_table()[clusters], classes.colours()),
    )
