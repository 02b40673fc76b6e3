"""The segmenter that a finished workspace holds: built from keys, anywhere."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stego_core.masks.crf import Crf
from stego_core.masks.densecrf import DenseCrf
from stego_core.masks.segmenter import Segmenter, Windows
from tasks.features import backbones
from tasks.head import heads
from tasks.images.decoding_memory import reading_memory
from tasks.options import MasksOptions
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

MASKS_VERSION = 6
"""Raised whenever the same options would give other masks, margins or tables."""
ENGINES: dict[str, type[Crf]] = {"lattice": Crf, "pydensecrf": DenseCrf}
"""Implementations of the CRF, by the option `crf_engine`."""
CRF_BYTES = {"lattice": (860, 20), "pydensecrf": (740, 80)}
"""Bytes of a pixel in each of them: always, and for each class."""


@dataclass(frozen=True)
class SegmenterSpec:
    """What a segmenter is made of; small and picklable."""

    storage: Storage
    backbone: backbones.BackboneSpec
    head_key: str
    clusters_key: str
    options: MasksOptions
    space: str = heads.CODES

    @remembered(4)
    def centroids(self) -> NDArray[np.float32]:
        """(K, D) float32 unit vectors."""
        path = f"{layout.clusters(self.clusters_key)}/{layout.CENTROIDS_FILE}"
        return tables.read_tensors(self.storage, path)["centroids"]

    def masks_path(self, dump: str) -> str:
        """Folder of a dump's masks."""
        return layout.masks(masks_key(self.clusters_key, self.options), dump)

    def build(self, device: str) -> Segmenter:
        """The segmenter; backbone and head are built once per process."""
        return Segmenter(
            backbones.load_backbone(self.storage, self.backbone, device),
            self.head(device),
            self.centroids(),
            self.crf(),
            self.windows(),
        )

    def head(self, device: str) -> nn.Module:
        """What makes the vectors that the centroids are compared with."""
        return heads.load_space(self.storage, self.head_key, self.space, device)

    def of_codes(self) -> "SegmenterSpec":
        """The same where the head's codes alone are wanted, whatever was clustered."""
        return replace(self, space=heads.CODES)

    def crf(self) -> Crf:
        """The CRF of these options; a sharpness that is not given is log K.

        Then a pixel whose code is its centroid's, at right angles to all others, begins with a
        probability of one half or little more, however many clusters there are.
        """
        given = self.options.sharpness
        sharpness = math.log(len(self.centroids())) if given is None else given
        return replace(refiner(self.options), sharpness=sharpness)

    def windows(self) -> Windows:
        """The windows of these options."""
        o = self.options
        return Windows(o.resolution, o.tile, o.tile_overlap, o.crf_tile, o.crf_overlap)


def segmenter_spec(workspace: Workspace, clusters_key: str, options: MasksOptions) -> SegmenterSpec:
    """The segmenter of a finished clusters folder."""
    clusters = workspace.folder(layout.clusters(clusters_key)).manifest()
    return SegmenterSpec(
        workspace.storage,
        backbones.BackboneSpec(**clusters["backbone"]),
        clusters["inputs"]["head"],
        clusters_key,
        options,
        clusters.get("space", heads.CODES),  # imported ones state none
    )


def refiner(options: MasksOptions) -> Crf:
    """The CRF of some options, but for its sharpness.

    Raises:
        OptionError: its package is not installed.
    """
    return ENGINES[options.crf_engine](iterations=options.crf_iterations)


def masks_key(clusters_key: str, options: MasksOptions) -> str:
    """Key of the masks made with these clusters."""
    content = options.model_copy(update={"overlays": True})  # they change no mask
    return keys.key("masks", MASKS_VERSION, content, {"clusters": clusters_key})


def predicted_memory(pixels: int, classes: int, options: MasksOptions) -> int:
    """Bytes that a worker holds at once for an image of so many pixels.

    They are the image, and the next one while it is decoded; 12 bytes a pixel for mask, margins,
    overlay and their encoding; and the CRF. The lattice was measured at 580 to 1360 bytes a pixel
    of its window on a photograph, at 870 to 1650 on noise, whose colours share no vertex (5 to 60
    classes at 512×512), pydensecrf at 530 to 2090 and at 1030 to 4590; this predicts a tenth more
    than that, and the scores that go into it.
    """
    window = min(pixels, options.crf_tile**2)
    fixed, each_class = CRF_BYTES[options.crf_engine]
    return reading_memory(pixels) + 12 * pixels + window * (fixed + each_class * classes)
