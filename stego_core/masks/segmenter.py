"""From one image of any size to the class of each of its pixels, with bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import log_softmax
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.images.geometry import Blend, Window, cores, inference_size, resize, spans, windows
from stego_core.images.rendering import patches_with_data
from stego_core.images.upsampling import scores_at
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.crf import SHARPNESS, Crf, Refiner

Mask = NDArray[np.bool_]
"""(H, W), which pixels of an image hold data."""


@dataclass(frozen=True)
class Windows:
    """How an image is looked at.

    Attributes:
        resolution: pixels of the short side that the backbone sees.
        tile: pixels of a window's side that the backbone sees at once.
        tile_overlap: pixels that neighbouring windows share.
        refine_tile: pixels, at full size, of a window's side that the CRF sees at once.
        refine_overlap: pixels, at full size, that neighbouring CRF windows share.
    """

    resolution: int = 320
    tile: int = 640
    tile_overlap: int = 160
    refine_tile: int = 1024
    refine_overlap: int = 128

    @property
    def refining(self) -> tuple[int, int]:
        """Tile and overlap of the CRF's windows."""
        return self.refine_tile, self.refine_overlap


@dataclass(frozen=True)
class Segmenter:
    """Labels images: backbone, head, centroids and CRF in one callable.

    Attributes:
        backbone: frozen feature extractor.
        head: module that turns features (B, h, w, C) into codes (B, h, w, D).
        centroids: (K, D) float32 unit vectors.
        crf: refinement.
        view: resolution and windows.
    """

    backbone: Backbone
    head: nn.Module
    centroids: NDArray[np.float32]
    crf: Refiner = field(default_factory=Crf)
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
    crf: Refiner,
    view: Windows,
    valid: Mask | None = None,
) -> Refined:
    """Cluster ids of an image (H, W, 3) uint8 from its codes (h, w, D), and how sure they are.

    Pixels that are not `valid` hold no data: they have no class and take no part. Needs no
    backbone, so that a CPU worker can do it for codes that a GPU worker made.
    """
    size = (image.shape[0], image.shape[1])

    def score(full: NDArray[np.float32]) -> NDArray[np.float32]:
        return cluster_log_probabilities(full, centroids, crf.sharpness)

    def classify(window: Window) -> NDArray[np.uint8]:
        there = None if valid is None else valid[window.slices]
        if there is None or there.all():
            marginals = crf.refine(scores_at(codes, score, size, window), image[window.slices])
            return np.stack([marginals.argmax(axis=0).astype(np.uint8), margins(marginals)])
        part = np.zeros((2, window.height, window.width), np.uint8)
        part[0] = VOID_BYTE
        if there.any():
            scores = scores_at(codes, score, size, window)
            marginals = crf.refine(scores, image[window.slices], there)
            part[0, there] = marginals.argmax(axis=0)[there]
            part[1, there] = margins(marginals)[there]
        return part

    classes, certain = in_windows(size, view, classify)
    return Refined(classes, certain)


def image_codes(
    image: NDArray[np.uint8],
    backbone: Backbone,
    head: nn.Module,
    view: Windows,
    valid: Mask | None = None,
) -> NDArray[np.float32]:
    """Codes of an image, each the mean of the code of the image and of its mirrored twin.

    Images longer than a tile are read in overlapping windows whose codes are blended.

    Args:
        image: (H, W, 3) uint8 RGB.
        backbone, head: what makes codes.
        view: the windows.
        valid: which pixels hold data; None: all. Patches without data draw no other's features
            towards theirs, and have the code of the nearest one with data.

    Returns:
        (h, w, D) float32 at patch resolution of the resized image.
    """
    data = _data(image, backbone.patch, view, valid)

    def read(part: NDArray[np.uint8], place: Window) -> NDArray[np.float32]:
        own = None if data is None else data[place.slices]
        return mirrored_codes(part, backbone, head, own)

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
    found = _tiled(image, backbone.patch, view, lambda part, _: backbone.features(part[None])[0])
    return found if data is None else found * data[..., None]


def _data(image: NDArray[np.uint8], patch: int, view: Windows, valid: Mask | None) -> Mask | None:
    """(h, w) which patches hold data; None where all do, or hardly one does."""
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
    """What `read` makes of the resized image, window by window, blended.

    It is given a window's pixels, and the window in patches.
    """
    height, width = inference_size(image.shape[0], image.shape[1], view.resolution, patch)
    resized = resize(image, height, width)
    overlap = view.tile_overlap // patch
    parts = windows(height // patch, width // patch, max(view.tile // patch, overlap + 1), overlap)
    blend: Blend | None = None
    for part in parts:
        pixels = Window(*(edge * patch for edge in part))
        codes = read(resized[pixels.slices], part)
        if len(parts) == 1:
            return codes
        blend = blend or Blend.create(height // patch, width // patch, codes.shape[-1], overlap)
        blend.add(part, codes)
    assert blend is not None  # windows() never returns an empty list
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
    """log softmax over clusters of sharpness · cos(code, centroid).

    Args:
        codes: (..., D) float32.
        centroids: (K, D) float32 unit vectors.

    Returns:
        (..., K) float32.
    """
    norm = np.sqrt(np.einsum("...d,...d->...", codes, codes))[..., None]
    scaled = sharpness * (codes @ centroids.T) / np.maximum(norm, np.finfo(np.float32).tiny)
    return np.asarray(log_softmax(scaled, axis=-1))


def margins(marginals: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How sure each pixel's class is: 255 times best less second best probability.

    Args:
        marginals: (K, H, W) float32, over K of sum 1.

    Returns:
        (H, W) uint8, 0 to 255; 255 where there is one class only.
    """
    best = marginals[0].copy()
    second = np.zeros_like(best)
    for each in marginals[1:]:
        np.maximum(second, np.minimum(best, each), out=second)
        np.maximum(best, each, out=best)
    return np.asarray(np.rint(255 * (best - second).clip(0, 1)), np.uint8)


def in_windows(
    size: tuple[int, int], view: Windows, decide: Callable[[Window], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Maps (..., H, W) uint8, decided (..., h, w) window by window; each window keeps its core.

    The overlap gives the CRF its surroundings; its result there is thrown away.
    """
    maps: NDArray[np.uint8] | None = None
    edges = [(spans(n, *view.refining), cores(n, *view.refining)) for n in size]
    for (top, bottom), (core_top, core_bottom) in zip(*edges[0], strict=True):
        for (left, right), (core_left, core_right) in zip(*edges[1], strict=True):
            part = decide(Window(top, left, bottom, right))
            if maps is None:
                maps = np.empty((*part.shape[:-2], *size), np.uint8)
            maps[..., core_top:core_bottom, core_left:core_right] = part[
                ..., core_top - top : core_bottom - top, core_left - left : core_right - left
            ]
    assert maps is not None  # spans() never returns an empty list
    return maps
