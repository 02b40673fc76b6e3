"""Codes of an image at patch resolution: at one size or two, in overlapping windows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.clustering.kmeans import unit
from stego_core.images.geometry import Blend, Window, inference_size, resize, windows
from stego_core.images.rendering import patches_with_data
from stego_core.images.upsampling import upsampled
from stego_core.masks.crf import Mask

WindowCodes = Callable[[NDArray[np.uint8], Backbone, nn.Module, Mask | None], NDArray[np.float32]]
"""Codes (h, w, D) of a window (H, W, 3), of which patches may hold no data (h, w)."""


@dataclass(frozen=True)
class Windows:
    """The windows in which an image is read and refined.

    Attributes:
        resolution: pixels of the short side at which the backbone reads an image.
        tile, tile_overlap: side of the backbone's windows there, and what neighbours share, pixels.
        refine_tile, refine_overlap: the same of the CRF's windows, pixels at full size.
        coarse: pixels of the short side at which it reads the image's mirrored twin; None for the
            same size, as in STEGO.
    """

    resolution: int = 320
    tile: int = 320
    tile_overlap: int = 64
    refine_tile: int = 1024
    refine_overlap: int = 128
    coarse: int | None = None


def image_codes(
    image: NDArray[np.uint8],
    backbone: Backbone,
    head: nn.Module,
    view: Windows,
    valid: Mask | None = None,
) -> NDArray[np.float32]:
    """Codes (h, w, D) float32 of an image (H, W, 3) uint8 RGB at patch resolution, once resized.

    Each is the mean of two codes, of the image and of its mirrored twin, which with `view.coarse`
    is read at that size. Images longer than a tile are read in overlapping windows whose codes
    are blended. Patches without `valid` pixels influence no other patch, and get the code of the
    nearest one with data.
    """
    if view.coarse is None:
        return _codes_of_size(image, backbone, head, view, valid, mirrored_codes)
    twin, twin_valid = image[:, ::-1], None if valid is None else valid[:, ::-1]
    smaller = replace(view, resolution=view.coarse)
    fine = unit(_codes_of_size(image, backbone, head, view, valid, single_codes))
    small = _codes_of_size(twin, backbone, head, smaller, twin_valid, single_codes)
    coarse = np.asarray(unit(small)[:, ::-1], np.float32)
    height, width = fine.shape[:2]
    resized = upsampled(coarse, (height, width), Window(0, 0, height, width))
    return np.asarray((fine + resized) / 2, np.float32)


def _codes_of_size(
    image: NDArray[np.uint8],
    backbone: Backbone,
    head: nn.Module,
    view: Windows,
    valid: Mask | None,
    codes_of: WindowCodes,
) -> NDArray[np.float32]:
    """Codes (h, w, D) of an image read at `view.resolution` alone."""
    data = _data(image, backbone.patch, view, valid)

    def read(pixels: NDArray[np.uint8], patches: Window) -> NDArray[np.float32]:
        return codes_of(pixels, backbone, head, None if data is None else data[patches.slices])

    codes = _tiled(image, backbone.patch, view, read)
    if data is None:
        return codes
    from scipy import ndimage  # a fifth of a second; most images hold data everywhere

    nearest = ndimage.distance_transform_edt(~data, return_distances=False, return_indices=True)
    return np.asarray(codes[tuple(nearest)])


class FeatureReader(Protocol):
    """What turns images into maps of feature vectors: a backbone, or a baseline's network."""

    @property
    def patch(self) -> int:
        """Pixels of a cell's side."""
        ...

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H / patch, W / patch, C) float32 of images (B, H, W, 3) uint8 RGB."""
        ...


def image_features(
    image: NDArray[np.uint8], backbone: FeatureReader, view: Windows, valid: Mask | None = None
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


def mirrored_codes(
    image: NDArray[np.uint8], backbone: Backbone, head: nn.Module, data: Mask | None = None
) -> NDArray[np.float32]:
    """Mean code (h, w, D) of an image (H, W, 3) and of its mirrored twin, mirrored back.

    Features of patches without `data` (h, w) are zero before the head reads them.
    """
    twins = None if data is None else np.stack([data, data[:, ::-1]])
    codes = _codes(np.stack([image, image[:, ::-1]]), backbone, head, twins)
    return np.asarray((codes[0] + codes[1][:, ::-1]) / 2)


def single_codes(
    image: NDArray[np.uint8], backbone: Backbone, head: nn.Module, data: Mask | None = None
) -> NDArray[np.float32]:
    """Codes (h, w, D) of an image (H, W, 3) as it is; `data` as in `mirrored_codes`."""
    codes = _codes(image[None], backbone, head, None if data is None else data[None])
    return np.asarray(codes[0])


@torch.inference_mode()
def _codes(
    images: NDArray[np.uint8], backbone: Backbone, head: nn.Module, data: Mask | None
) -> NDArray[np.float32]:
    features = backbone.features(images)
    if data is not None:
        features = features * data[..., None]
    codes: NDArray[np.float32] = head(torch.from_numpy(features).to(backbone.device)).cpu().numpy()
    return codes
