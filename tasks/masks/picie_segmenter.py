"""PiCIE as masks are made with it: the nearest cluster by f · c, without mirrored twin or CRF."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.masks.crf import Crf
from stego_core.masks.patch_codes import WIDER, Windows, image_features
from stego_core.masks.segmenter import Scorer, scorer
from stego_core.picie.feature_pyramid import DEPTH, PyramidReader
from tasks.images.decoding_memory import reading_memory
from tasks.masks.segmenter import masks_key, tokens_at_once
from tasks.options import MasksOptions
from tasks.picie import picie_models
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

READING_FLOATS = 2 * 3 * 64
"""Floats that the network holds at once for each cell of its map, beside the map itself."""


@dataclass(frozen=True)
class PicieCodes:
    """Unit vectors of an image's cells, read in windows."""

    reader: PyramidReader
    view: Windows

    def codes(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """(h, w, DEPTH) float32 of an image (H, W, 3) uint8 RGB; zeros where there is no data."""
        return image_features(image, self.reader, self.view, valid)


@dataclass(frozen=True)
class PicieSpec:
    """A trained PiCIE that makes masks; small and picklable.

    Attributes:
        key: of its training.
    """

    storage: Storage
    key: str
    options: MasksOptions

    baseline = True
    """Its masks are there to be scored."""
    method = "PiCIE"
    """What the progress calls it."""

    @remembered(4)
    def centroids(self) -> NDArray[np.float32]:
        """(K, DEPTH) float32; the argmax of f · c is the same of `refined`'s cosines, which divide
        f by its norm.
        """
        return picie_models.centroids(self.storage, self.key)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.centroids())

    def scorer(self) -> Scorer:
        """Scores of the clusters."""
        return scorer(self.centroids(), self.crf())

    @property
    def masks_key(self) -> str:
        """Key of its masks."""
        return masks_key(self.key, self.options)

    def masks_path(self, dump: str) -> str:
        """Folder of a dump's masks."""
        return layout.masks(self.masks_key, dump)

    def document(self) -> dict[str, Any]:
        """What the masks are made with, for their manifest."""
        return {"inputs": {"picie": self.key}}

    def memory(self, pixels: int) -> int:
        """Bytes that a worker holds at once for an image of so many pixels."""
        classes, options = self.classes, self.options
        cells = tokens_at_once(options, PyramidReader.patch)
        reading = 4 * cells * (DEPTH * 3 + READING_FLOATS)
        refining = min(pixels, options.crf_tile**2) * 4 * (2 * classes + DEPTH)
        return reading_memory(pixels) + 12 * pixels + max(reading, refining)

    def build(self, device: str) -> PicieCodes:
        """What reads images; the network is built once per process."""
        return PicieCodes(
            picie_models.trained_reader(self.storage, self.key, device), self.windows()
        )

    def kept_codes(self, dump: str, image_id: str) -> None:
        """None: every image is read."""
        return None

    def crf(self) -> Crf:
        """No CRF, as published; the scale of f · c changes no argmax."""
        return Crf(iterations=0, sharpness=1.0)

    def windows(self) -> Windows:
        """The windows of these options: as long as those of the twin that STEGO's masks read."""
        o = self.options
        return Windows(o.resolution, WIDER * o.tile, o.tile_overlap, o.crf_tile, o.crf_overlap)


def picie_spec(workspace: Workspace, key: str, options: MasksOptions) -> PicieSpec:
    """A finished PiCIE with the options of masks that it heeds: how large images are windowed.

    Images are read at the size of its views.
    """
    size = int(workspace.folder(layout.picie(key)).manifest()["options"]["size"])
    heeded = options.model_dump(include={"tile", "tile_overlap", "crf_tile", "crf_overlap"})
    own = MasksOptions(**heeded, resolution=size, crf_iterations=0, overlays=False)
    return PicieSpec(workspace.storage, key, own)
