"""From one image of any size to the class of each of its pixels, with bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import log_softmax
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.images.geometry import Blend, Window, cores, cuts, inference_size, resize, windows
from stego_core.images.rendering import patches_with_data
from stego_core.images.upsampling import scores_at
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.crf import SHARPNESS, Crf, Mask


@dataclass(frozen=True)
class Windows:
    """The windows in which an image is read and refined.

    Attributes:
        resolution: pixels of the short side at which the backbone reads an image.
        tile, tile_overlap: side of the backbone's windows there, and what neighbours share, pixels.
        refine_tile, refine_overlap: the same of the CRF's windows, pixels at full size.
    """

    resolution: int = 320
    tile: int = 640
    tile_overlap: int = 160
    refine_tile: int = 1024
    refine_overlap: int = 128


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
        codes = self.codes(image, valid)
        return refined(codes, image, self.centroids, self.crf, self.view, valid).classes

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
    centroids: NDArray[np.float32],
    crf: Crf,
    view: Windows,
    valid: Mask | None = None,
) -> Refined:
    """Cluster ids of an image (H, W, 3) uint8 from its codes (h, w, D), and how sure they are.

    Pixels that are not `valid` hold no data: they have no class and influence no other pixel. No
    backbone is needed, so a CPU worker can refine codes that a GPU worker computed.
    """
    size = (image.shape[0], image.shape[1])

    def score(full: NDArray[np.float32]) -> NDArray[np.float32]:
        return cluster_log_probabilities(full, centroids, crf.sharpness)

    def classify(window: Window) -> NDArray[np.uint8]:
        data = None if valid is None or valid[window.slices].all() else valid[window.slices]
        if data is not None and not data.any():
            void = np.zeros((2, window.height, window.width), np.uint8)
            void[0] = VOID_BYTE
            return void
        marginals = crf.refine(scores_at(codes, score, size, window), image[window.slices], data)
        part = np.stack([marginals.argmax(axis=0).astype(np.uint8), margins(marginals)])
        if data is not None:
            part[:, ~data] = [[VOID_BYTE], [0]]
        return part

    return Refined(*in_windows(size, view, classify))


def image_codes(
    image: NDArray[np.uint8],
    backbone: Backbone,
    head: nn.Module,
    view: Windows,
    valid: Mask | None = None,
) -> NDArray[np.float32]:
    """Codes (h, w, D) float32 of an image (H, W, 3) uint8 RGB at patch resolution, once resized.

    Each is the mean of the code of the image and of its mirrored twin. Images longer than a tile
    are read in overlapping windows whose codes are blended. Patches without `valid` pixels
    influence no other patch, and get the code of the nearest one with data.
    """
    data = _data(image, backbone.patch, view, valid)

    def read(pixels: NDArray[np.uint8], patches: Window) -> NDArray[np.float32]:
        return mirrored_codes(
            pixels, backbone, head, None if data is None else data[patches.slices]
        )

    codes = _tiled(image, backbone.patch, view, read)
    if data is None:
        return codes
    nearest = ndimage.distance_transform_edt(~data, return_distances=False, return_indices=True)
    return np.asarray(codes[tuple(nearest)])


def image_features(
    image: NDArray[np.uint8], backbone: Backbone, view: Windows, valid: Mask | None = None
) -> NDArray[np.float32]:
    """Features (h, w, C) float32 of an image (H, W, 3) uint8, in windows as `image_codes`.

    Those of patches without data are zero.
    """
    data = _data(image, backbone.patch, view, valid)
    maps = _tiled(image, backbone.patch, view, lambda part, _: backbone.features(part[None])[0])
    return maps if data is None else maps * data[..., None]


def _data(image: NDArray[np.uint8], patch: int, view: Windows, valid: Mask | None) -> Mask | None:
    """(h, w) which patches hold data; None where all do, or none does."""
    if valid is None:
        return None
    height, width = inference_size(image.shape[0], image.shape[1], view.resolution, patch)
    data = patches_with_data(valid, height // patch, width // patch)
    return None if data.all() or not data.any() else data


def _tiled(
    image: NDArray[np.uint8],
    patch: int,
    view: Windows,
    read: Callable[[NDArray[np.uint8], Window], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Maps that `read` makes of each window of the resized image, blended.

    `read` gets a window's pixels, and the window in patches.
    """
    height, width = inference_size(image.shape[0], image.shape[1], view.resolution, patch)
    resized, overlap = resize(image, height, width), view.tile_overlap // patch
    parts = windows(height // patch, width // patch, max(view.tile // patch, overlap + 1), overlap)

    def maps(part: Window) -> NDArray[np.float32]:
        return read(resized[Window(*(edge * patch for edge in part)).slices], part)

    first = maps(parts[0])
    if len(parts) == 1:
        return first
    blend = Blend(height // patch, width // patch, first.shape[-1], overlap)
    blend.add(parts[0], first)
    for part in parts[1:]:
        blend.add(part, maps(part))
    return blend.result()


@torch.inference_mode()
def mirrored_codes(
    image: NDArray[np.uint8], backbone: Backbone, head: nn.Module, data: Mask | None = None
) -> NDArray[np.float32]:
    """Mean code (h, w, D) of an image (H, W, 3) and of its mirrored twin, mirrored back.

    Features of patches without `data` (h, w) are zero before the head reads them.
    """
    features = backbone.features(np.stack([image, image[:, ::-1]]))
    if data is not None:
        features = features * np.stack([data, data[:, ::-1]])[..., None]
    codes = head(torch.from_numpy(features).to(backbone.device)).cpu().numpy()
    return np.asarray((codes[0] + codes[1][:, ::-1]) / 2)


def cluster_log_probabilities(
    codes: NDArray[np.float32], centroids: NDArray[np.float32], sharpness: float = SHARPNESS
) -> NDArray[np.float32]:
    """log softmax over K clusters of sharpness · cos(code, centroid), (..., K) float32.

    Args:
        codes: (..., D) float32.
        centroids: (K, D) float32 unit vectors.
    """
    norm = np.sqrt(np.einsum("...d,...d->...", codes, codes))[..., None]
    scaled = sharpness * (codes @ centroids.T) / np.maximum(norm, np.finfo(np.float32).tiny)
    return np.asarray(log_softmax(scaled, axis=-1))


def margins(marginals: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How sure each pixel's class is: 255 times best less second best probability, (H, W) uint8.

    Of `marginals` (K, H, W) float32, over K of sum 1; of one class only, all margins are 255.
    """
    best = marginals[0].copy()
    second = np.zeros_like(best)
    for probability in marginals[1:]:
        np.maximum(second, np.minimum(best, probability), out=second)
        np.maximum(best, probability, out=best)
    return np.asarray(np.rint(255 * (best - second).clip(0, 1)), np.uint8)


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
