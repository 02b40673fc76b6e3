"""From one image of any size to the class of each of its pixels, with bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.images.geometry import Window, cores, cuts
from stego_core.images.upsampling import cosines_at
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.crf import Crf, Mask
from stego_core.masks.patch_codes import Windows, image_codes

Scorer: TypeAlias = Callable[[NDArray[np.float32], tuple[int, int], Window], NDArray[np.float32]]
"""Turns codes (h, w, D) of an image of size (H, W) into scores (K, height, width) of a window:
log probabilities of the classes, up to a constant of each pixel."""


@dataclass(frozen=True)
class Segmenter:
    """Labels images: backbone, head, centroids and CRF in one callable.

    The head turns features (B, h, w, C) into codes (B, h, w, D); the centroids (K, D) are float32
    unit vectors.
    """

    backbone: Backbone
    head: nn.Module
    centroids: NDArray[np.float32]
    crf: Crf = field(default_factory=Crf)
    view: Windows = field(default_factory=Windows)

    def __call__(self, image: NDArray[np.uint8], valid: Mask | None = None) -> NDArray[np.uint8]:
        """Cluster ids (H, W) uint8 of an RGB image (H, W, 3) uint8 of any size.

        VOID_BYTE where there is no data; `valid` None: there is everywhere.
        """
        codes, score = self.codes(image, valid), scorer(self.centroids, self.crf)
        return refined(codes, image, score, self.crf, self.view, valid).classes

    def codes(self, image: NDArray[np.uint8], valid: Mask | None = None) -> NDArray[np.float32]:
        """Codes (h, w, D) float32 of an image at patch resolution."""
        return image_codes(image, self.backbone, self.head, self.view, valid)


class Refined(NamedTuple):
    """An image's clusters after refinement.

    Attributes:
        classes: (H, W) uint8 cluster ids, VOID_BYTE where there is no data.
        margins: (H, W) uint8; 255 times the probability of the best class less that of the
            second best; 0 where there is no data.
    """

    classes: NDArray[np.uint8]
    margins: NDArray[np.uint8]


def refined(
    codes: NDArray[np.float32],
    image: NDArray[np.uint8],
    score: Scorer,
    crf: Crf,
    view: Windows,
    valid: Mask | None = None,
) -> Refined:
    """Class ids of an image (H, W, 3) uint8 from its codes (h, w, D), and how sure they are.

    Pixels that are not `valid` hold no data: they have no class and influence no other pixel. No
    backbone is needed, so a CPU worker can refine codes that a GPU worker computed.
    """
    size = (image.shape[0], image.shape[1])

    def classify(window: Window) -> NDArray[np.uint8]:
        data = None if valid is None or valid[window.slices].all() else valid[window.slices]
        if data is not None and not data.any():
            void = np.zeros((2, window.height, window.width), np.uint8)
            void[0] = VOID_BYTE
            return void
        part = crf.decide(score(codes, size, window), image[window.slices], data)
        if data is not None:
            part[:, ~data] = [[VOID_BYTE], [0]]
        return part

    return Refined(*in_windows(size, view, classify))


def scorer(centroids: NDArray[np.float32], crf: Crf) -> Scorer:
    """The scores of clusters, sharpness · cos(code, centroid), of unit centroids (K, D)."""
    return partial(cosines_at, np.float32(crf.sharpness) * centroids)


def in_windows(
    size: tuple[int, int],
    view: Windows,
    decide: Callable[[Window], NDArray[np.uint8]],
    layers: tuple[int, ...] = (2,),
) -> NDArray[np.uint8]:
    """Maps (*layers, H, W) uint8, decided (*layers, h, w) window by window; each keeps its core.

    A window's overlap shows the CRF the surroundings of the core; its result there is dropped.
    """
    tile, overlap = view.refine_tile, view.refine_overlap
    rows, columns = (
        [*zip(cuts(n, tile, overlap), cores(n, tile, overlap), strict=True)] for n in size
    )
    maps = np.empty((*layers, *size), np.uint8)
    for ((top, bottom), row_core), ((left, right), column_core) in product(rows, columns):
        core = Window(row_core[0], column_core[0], row_core[1], column_core[1])
        inside = (
            slice(core.top - top, core.bottom - top),
            slice(core.left - left, core.right - left),
        )
        maps[..., *core.slices] = decide(Window(top, left, bottom, right))[..., *inside]
    return maps
