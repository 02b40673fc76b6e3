"""The Python interface: open a finished workspace, label an image."""

import operator
from dataclasses import dataclass
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from stego_core.classes import VOID, Classes
from stego_core.errors import InputError
from stego_core.inference import Segmenter
from tasks import classes, machine
from tasks.options import MasksOptions
from tasks.segmenter import segmenter_spec
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace

NO_CLASS = "no class"


class Names(list[str]):
    """Names of K classes by their ids; the id 255 of pixels that belong to no class has one too."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        """The name of an id that `OpenWorkspace.label` gives."""
        if not isinstance(index, slice) and operator.index(index) == VOID:
            return NO_CLASS
        return super().__getitem__(index)


@dataclass(frozen=True)
class OpenWorkspace:
    """A finished workspace's segmenter.

    Attributes:
        segmenter: backbone, head, centroids and CRF.
        classes: what people call the clusters, and which count as others.
    """

    segmenter: Segmenter
    classes: Classes

    @property
    def names(self) -> "Names":
        """The name of each class id, as given with `stego name` or found from labels."""
        return Names(self.classes.names())

    def label(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class ids (H, W) uint8 of an RGB image (H, W, 3) uint8 of any size; see `names`.

        Clusters that were merged have the id of the one they count as; ignored ones have 255.

        Raises:
            InputError: the array is something else.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InputError(
                f"an image of shape {image.shape} and dtype {image.dtype} was given; expected "
                "(H, W, 3) uint8 RGB with at least one pixel"
            )
        return self.classes.shown()[self.segmenter(image)]


def open_workspace(location: str, device: str = "auto") -> OpenWorkspace:
    """Open the workspace at a path or URI with its current head and clusters.

    Raises:
        WorkspaceError: there is none, or it has no clusters yet.
    """
    machine.hold_threads()
    workspace = Workspace.open(location)
    summary = Summary(workspace)
    clusters = summary.require("clusters")
    options = MasksOptions(**summary.current["options"].get("masks", {}))
    spec = segmenter_spec(workspace, clusters, options)
    named = classes.current(workspace).classes
    return OpenWorkspace(spec.build(machine.device(device)), named)
