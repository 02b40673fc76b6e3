"""The Python interface: open a finished workspace, label an image."""

import io
import operator
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import InputError
from stego_core.images.rendering import Picture
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.segmenter import Segmenter
from tasks.class_names import classes_file as classes
from tasks.corpus.listing import read_file
from tasks.engine import machine
from tasks.images import number_meaning
from tasks.images.rendering import Renderer
from tasks.masks.segmenter import tell_if_slow
from tasks.masks.taught_segmenter import TaughtSegmenter, mask_source
from tasks.options import CorpusOptions, MasksOptions
from tasks.storage.storage import Storage
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

MAX_PIXELS: int = CorpusOptions.model_fields["max_pixels"].default
Labelled = NDArray[np.uint8] | Picture | Image.Image | str | PurePath
"""What can be labelled."""
NO_CLASS = "no class"


class Names(list[str]):
    """Names of K classes by their ids; the id 255 of pixels that belong to no class has one too."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        """The name of an id that `OpenWorkspace.label` gives."""
        if not isinstance(index, slice) and operator.index(index) == VOID_BYTE:
            return NO_CLASS
        return super().__getitem__(index)


@dataclass(frozen=True)
class OpenWorkspace:
    """A finished workspace's segmenter, what people call its clusters, and how the numbers of its
    dumps' files become pictures.
    """

    segmenter: Segmenter | TaughtSegmenter
    classes: ClassNames
    renderer: Renderer = field(default_factory=lambda: Renderer(()))

    @property
    def names(self) -> "Names":
        """The name of each class id, as given with `stego name` or found from labels."""
        return Names(self.classes.names())

    def label(self, image: Labelled) -> NDArray[np.uint8]:
        """Class ids (H, W) uint8 of an image of any size; see `names`.

        Clusters that were merged have the id of the one they count as; ignored ones have 255, and
        so do pixels without data.

        Args:
            image: RGB (H, W, 3) uint8, an image of Pillow, or the path or URI of an image file.

        Raises:
            InputError: it is something else.
            ImageError: the file cannot be read, or holds no data.
        """
        return self.classes.display_table()[self.clusters(self.picture(image))]

    def clusters(self, picture: Picture) -> NDArray[np.uint8]:
        """Cluster ids (H, W) uint8 of a picture, 255 where it holds no data."""
        return self.segmenter(picture.pixels, picture.valid)

    def picture(self, image: Labelled) -> Picture:
        """What is labelled, as RGB; files as in the dumps that the head was trained on. It raises
        what `label` does.
        """
        if isinstance(image, Picture):
            return image
        if isinstance(image, str | PurePath):
            path = PurePosixPath(Storage.at(str(image)).uri)
            return self.read(read_file(Storage(str(path.parent)), path.name))
        if isinstance(image, Image.Image):
            return self.read(_file(image))
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InputError(
                f"an image of shape {image.shape} and dtype {image.dtype} was given; expected "
                "(H, W, 3) uint8 RGB with at least one pixel"
            )
        return Picture(image)

    def read(self, content: bytes, max_pixels: int = MAX_PIXELS) -> Picture:
        """The picture of a file of no dump; ImageError if it cannot be read, or holds no data."""
        return number_meaning.loose_picture(self.renderer, content, max_pixels)


def _file(image: Image.Image) -> bytes:
    """An image of Pillow as a file that holds the same."""
    sink = io.BytesIO()
    kept = image.mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
    image.save(sink, "PNG" if kept else "TIFF")
    return sink.getvalue()


def open_workspace(location: str, device: str = "auto") -> OpenWorkspace:
    """Open the workspace at a path or URI with its current head and clusters.

    Raises:
        WorkspaceError: there is none, or it has no clusters yet.
    """
    machine.limit_threads()
    workspace = Workspace.open(location)
    summary = Summary(workspace)
    clusters = summary.require("clusters")
    options = MasksOptions(**summary.last_run["options"].get("masks", {}))
    spec = mask_source(workspace, clusters, options)
    tell_if_slow(options)
    named = classes.current_names(workspace).classes
    manifests = [
        workspace.corpus(dump).manifest() for dump in number_meaning.earlier_dumps(workspace)
    ]
    made = number_meaning.renderer_of(manifests)
    return OpenWorkspace(spec.build(machine.device(device)), named, made)
