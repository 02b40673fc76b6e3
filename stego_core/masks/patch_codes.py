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
Images = Sequence[NDArray[np.uint8]]
"""Images (H, W, 3) uint8 RGB."""
Place = tuple[int, Window]
"""The number of an image, and a window of it in patches."""
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
    """Codes (h, w, D) float32 of one image (H, W, 3) uint8 RGB, as `codes_of_images`."""
    return codes_of_images([image], backbone, head, view, [valid])[0]


def codes_of_images(
    images: Images,
    backbone: Backbone,
    head: nn.Module,
    view: Windows,
    valid: Sequence[Mask | None],
) -> list[NDArray[np.float32]]:
    """Codes (h, w, D) float32 of images (H, W, 3) uint8 RGB of one size, once resized.

    Each is the mean of two codes, of the image and of its mirrored twin, which with `view.coarse`
    is read at that size, in longer windows. Images longer than a tile are read in overlapping
    windows whose codes are blended. Patches without `valid` pixels influence no other patch, and
    get the code of the nearest one with data.
    """
    if view.coarse is None:
        return _codes_of_size(images, backbone, head, view, valid, mirrored_codes)
    twins = [image[:, ::-1] for image in images]
    twins_valid = [None if each is None else each[:, ::-1] for each in valid]
    smaller = replace(view, resolution=view.coarse, tile=WIDER * view.tile)
    fine = _codes_of_size(images, backbone, head, view, valid, single_codes)
    small = _codes_of_size(twins, backbone, head, smaller, twins_valid, single_codes)
    return [_mean_of_sizes(*codes) for codes in zip(fine, small, strict=True)]


def _mean_of_sizes(fine: NDArray[np.float32], twin: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the directions of an image's codes and of its twin's, which is smaller."""
    height, width = fine.shape[:2]
    coarse = np.asarray(unit(twin)[:, ::-1], np.float32)
    resized = upsampled(coarse, (height, width), Window(0, 0, height, width))
    return np.asarray((unit(fine) + resized) / 2, np.float32)


def images_at_once(view: Windows, pixels: int) -> int:
    """How many images of so many pixels are read together: small passes cost little more than one.

    It is 1 from a resolution of 363 on, where the windows of two images would fill a pass.
    """
    return max(PIXELS_AT_ONCE // max(2 * view.resolution**2, pixels), 1)


def _codes_of_size(
    images: Images,
    backbone: Backbone,
    head: nn.Module,
    view: Windows,
    valid: Sequence[Mask | None],
    codes_of: WindowCodes,
) -> list[NDArray[np.float32]]:
    """Codes (h, w, D) of images read at `view.resolution` alone."""
    data = [_data(*pair, backbone.patch, view) for pair in zip(images, valid, strict=True)]

    def read(pixels: NDArray[np.uint8], places: Sequence[Place]) -> NDArray[np.float32]:
        return codes_of(pixels, backbone, head, _known(data, places))

    codes = _tiled(images, backbone.patch, view, read)
    return [
        each if part is None else _filled(each, part)
        for each, part in zip(codes, data, strict=True)
    ]


def _known(data: Sequence[Mask | None], places: Sequence[Place]) -> Mask | None:
    """(B, h, w) which patches of some windows hold data; None where all of the images' do."""
    if all(data[image] is None for image, _ in places):
        return None
    known = np.ones((len(places), places[0][1].height, places[0][1].width), np.bool_)
    for row, (image, part) in enumerate(places):
        mask = data[image]
        if mask is not None:
            known[row] = mask[part.slices]
    return known


def _filled(codes: NDArray[np.float32], data: Mask) -> NDArray[np.float32]:
    """Codes whose patches without data have that of the nearest one with data."""
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
    data = _data(image, valid, backbone.patch, view)
    (maps,) = _tiled([image], backbone.patch, view, lambda pixels, _: backbone.features(pixels))
    return maps if data is None else maps * data[..., None]


def _data(image: NDArray[np.uint8], valid: Mask | None, patch: int, view: Windows) -> Mask | None:
    """(h, w) which patches hold data; None where all do, or none does."""
    if valid is None:
        return None
    height, width = inference_size(image.shape[0], image.shape[1], view.resolution, patch)
    data = patches_with_data(valid, height // patch, width // patch)
    return None if data.all() or not data.any() else data


def _tiled(
    images: Images,
    patch: int,
    view: Windows,
    read: Callable[[NDArray[np.uint8], Sequence[Place]], NDArray[np.float32]],
) -> list[NDArray[np.float32]]:
    """Maps that `read` makes of the windows of resized images of one size, blended.

    `read` gets the pixels (B, H, W, 3) of some windows, which are all alike in size, and their
    places, in patches.
    """
    first = images[0]
    height, width = inference_size(first.shape[0], first.shape[1], view.resolution, patch)
    resized, overlap = (
        [resize(image, height, width) for image in images],
        view.tile_overlap // patch,
    )
    parts = windows(height // patch, width // patch, max(view.tile // patch, overlap + 1), overlap)
    together = max(PIXELS_AT_ONCE // (parts[0].height * parts[0].width * patch**2), 1)
    places = [(image, part) for image in range(len(images)) for part in parts]
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(places), together):
        group = places[start : start + together]
        cut = [resized[n][Window(*(edge * patch for edge in part)).slices] for n, part in group]
        found += [*read(np.stack(cut), group)]
    if len(parts) == 1:
        return found
    maps = [found[start : start + len(parts)] for start in range(0, len(found), len(parts))]
    return [_blended(parts, each, overlap) for each in maps]


def _blended(
    parts: Sequence[Window], maps: Sequence[NDArray[np.float32]], overlap: int
) -> NDArray[np.float32]:
    """The map that windows make together; the last one ends where it does."""
    blend = Blend(parts[-1].bottom, parts[-1].right, maps[0].shape[-1], overlap)
    for part, values in zip(parts, maps, strict=True):
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
