"""The Python interface: open a finished workspace, label an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stego_core.classes import Classes
from stego_core.errors import InputError
from stego_core.inference import Segmenter
from tasks import classes, machine
from tasks.options import MasksOptions
from tasks.segmenter import segmenter_spec
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace


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
    def names(self) -> list[str]:
        """The name of each class id, as given with `stego name` or found from labels."""
        return self.classes.names()

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
