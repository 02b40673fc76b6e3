"""Codes of an image at patch resolution: at one size or two, in overlapping windows."""

from collections.abc import Callable, Sequence
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
"""Codes (B, h, w, D) of windows (B, H, W, 3), of which patches may hold no data (B, h, w)."""
PIXELS_AT_ONCE = 1 << 19
"""Windows of so many pixels together go through the backbone at once, if not one alone has more."""
WIDER = 2
"""How much longer the windows of a smaller twin are: one code shows what is near, the other what
surrounds it; see docs/notes/quality.md."""


@dataclass(frozen=True)
class Windows:
    """The windows in which an image is read and refined.

    By default a square is read whole at 320 pixels, as STEGO evaluates.

    Attributes:
        resolution: pixels of the short side at which the backbone reads an image.
        tile, tile_overlap: side of the backbone's windows there, and what neighbours share, pixels.
        refine_tile, refine_overlap: the same of the CRF's windows, pixels at full size.
        coarse: pixels of the short side at which it reads the image's mirrored twin, in windows
            `WIDER` times as long as `tile`; None for the same size and windows, as in STEGO.
    """

    resolution: int = 320
    tile: int = 448
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

    They are the mean of two codes, of the image and of its mirrored twin, which with `view.coarse`
    is read at that size, in longer windows. Images longer than a tile are read in overlapping
    windows whose codes are blended. Patches without `valid` pixels influence no other patch, and
    get the code of the nearest one with data.
    """
    if view.coarse is None:
        return _codes_of_size(image, backbone, head, view, valid, mirrored_codes)
    twin, twin_valid = image[:, ::-1], None if valid is None else valid[:, ::-1]
    smaller = replace(view, resolution=view.coarse, tile=WIDER * view.tile)
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

    def read(pixels: NDArray[np.uint8], parts: Sequence[Window]) -> NDArray[np.float32]:
        known = None if data is None else np.stack([data[part.slices] for part in parts])
        return codes_of(pixels, backbone, head, known)

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
    maps = _tiled(image, backbone.patch, view, lambda pixels, _: backbone.features(pixels))
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
    read: Callable[[NDArray[np.uint8], Sequence[Window]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Maps that `read` makes of the windows of the resized image, blended.

    `read` gets the pixels (B, H, W, 3) of some windows, which are all alike in size, and the
    windows in patches.
    """
    height, width = inference_size(image.shape[0], image.shape[1], view.resolution, patch)
    resized, overlap = resize(image, height, width), view.tile_overlap // patch
    parts = windows(height // patch, width // patch, max(view.tile // patch, overlap + 1), overlap)
    together = max(PIXELS_AT_ONCE // (parts[0].height * parts[0].width * patch**2), 1)

    def maps(group: Sequence[Window]) -> NDArray[np.float32]:
        cut = [resized[Window(*(edge * patch for edge in part)).slices] for part in group]
        return read(np.stack(cut), group)

    groups = (parts[start : start + together] for start in range(0, len(parts), together))
    found: list[NDArray[np.float32]] = [values for group in groups for values in maps(group)]
    if len(parts) == 1:
        return found[0]
    blend = Blend(height // patch, width // patch, found[0].shape[-1], overlap)
    for part, values in zip(parts, found, strict=True):
        blend.add(part, values)
    return blend.result()


def mirrored_codes(
    images: NDArray[np.uint8], backbone: Backbone, head: nn.Module, data: Mask | None = None
) -> NDArray[np.float32]:
    """Mean codes (B, h, w, D) of images (B, H, W, 3) and of their mirrored twins, mirrored back.

    Features of patches without `data` (B, h, w) are zero before the head reads them.
    """
    twins = None if data is None else np.concatenate([data, data[:, :, ::-1]])
    codes = single_codes(np.concatenate([images, images[:, :, ::-1]]), backbone, head, twins)
    return np.asarray((codes[: len(images)] + codes[len(images) :, :, ::-1]) / 2)


@torch.inference_mode()
def single_codes(
    images: NDArray[np.uint8], backbone: Backbone, head: nn.Module, data: Mask | None = None
) -> NDArray[np.float32]:
    """Codes (B, h, w, D) of images (B, H, W, 3) as they are; `data` as in `mirrored_codes`."""
    features = backbone.features(images)
    if data is not None:
        features = features * data[..., None]
    codes: NDArray[np.float32] = head(torch.from_numpy(features).to(backbone.device)).cpu().numpy()
    return codes
