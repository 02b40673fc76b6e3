"""Multi-crop views of images for self-distillation: boxes, flips, colours and blur."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.backbone import timm_library
from stego_core.images.geometry import Window

with timm_library.without_compiler():
    from torchvision.transforms.v2 import functional as transforms

Pixels = NDArray[np.uint8]

GREY = np.array([0.299, 0.587, 0.114])
"""Luma of RGB, ITU-R BT.601."""
_TO_YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
ASPECT = (3 / 4, 4 / 3)
"""Least and greatest aspect of a box, in units of the aspect of the window that it is cut from."""
MIN_SIDE = 8
"""Pixels that a box has at least on each side, where the image has them."""


@dataclass(frozen=True)
class ViewRecipe:
    """How an image is cut and coloured, after DINO (Caron et al. 2021, appendix B).

    Attributes:
        global_size, local_size: sides of the square views, pixels.
        local_views: how many local views there are beside the two global ones.
        window: least and greatest share of an image's area that all of its views are cut from.
            (1, 1) is DINO; smaller windows keep the views of an image with many things in it to
            one place, so that they show the same things.
        global_scale, local_scale: least and greatest share of the window's area in a view.
        colour: strength of the colour jitter; 1 is DINO's.
    """

    global_size: int
    local_size: int
    local_views: int
    window: tuple[float, float]
    global_scale: tuple[float, float]
    local_scale: tuple[float, float]
    colour: float = 1.0


@dataclass(frozen=True)
class Augmentation:
    """How one view of an image is made: its sampled parameters, before it is rendered.

    Attributes:
        flipped: whether left and right are exchanged.
        colours: a (3, 3) matrix and a number: RGB in [0, 1] becomes `rgb @ matrix.T + number`.
        blur: standard deviation of a Gaussian, pixels of the view; 0 is none.
        solarized: whether values above one half are inverted.
    """

    box: Window
    flipped: bool
    colours: tuple[NDArray[np.float64], float]
    blur: float
    solarized: bool


def sample_augmentations(
    shape: tuple[int, ...], recipe: ViewRecipe, generator: np.random.Generator
) -> list[Augmentation]:
    """Two global views, then the local ones, of an image of this shape (height, width, ...)."""
    window = _sample_box(Window(0, 0, shape[0], shape[1]), recipe.window, generator)

    def view(number: int) -> Augmentation:
        # DINO blurs the first global view always, the second rarely, local ones half the time.
        blurred = (1.0, 0.1)[number] if number < 2 else 0.5
        scale = recipe.global_scale if number < 2 else recipe.local_scale
        return Augmentation(
            box=_sample_box(window, scale, generator),
            flipped=bool(generator.random() < 0.5),
            colours=_sample_colours(recipe.colour, generator),
            blur=float(generator.uniform(0.1, 2.0)) if generator.random() < blurred else 0.0,
            solarized=bool(number == 1 and generator.random() < 0.2),
        )

    return [view(number) for number in range(2 + recipe.local_views)]


def _sample_box(
    inside: Window, scale: tuple[float, float], generator: np.random.Generator
) -> Window:
    """A box of a share of the area of `inside`, of an aspect between 3:4 and 4:3 of its own."""
    share = generator.uniform(*scale)
    stretch = np.exp(generator.uniform(*np.log(ASPECT)) / 2)  # both sides share it
    side = np.sqrt(inside.height * inside.width * share)
    if share >= 1:
        return inside
    height, width = (
        int(np.clip(round(length), min(MIN_SIDE, limit), limit))
        for length, limit in ((side / stretch, inside.height), (side * stretch, inside.width))
    )
    top = inside.top + int(generator.integers(inside.height - height + 1))
    left = inside.left + int(generator.integers(inside.width - width + 1))
    return Window.sized(top, left, height, width)


def _sample_colours(
    strength: float, generator: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Brightness, contrast, saturation and hue of one view as one affine map of RGB.

    DINO's jitter (0.4, 0.4, 0.2, 0.1) with probability 0.8, then grey with probability 0.2. Hue
    turns in YIQ, and contrast pivots on mid grey instead of the view's own mean: so the whole is
    linear, and one product for a batch.
    """
    matrix, offset = np.eye(3), 0.0
    jittered = generator.random() < 0.8
    brightness, contrast = generator.uniform(-0.4, 0.4, 2) * strength
    saturation, hue = generator.uniform(-0.2, 0.2), generator.uniform(-0.1, 0.1)
    if jittered:
        saturation, angle = 1 + saturation * strength, 2 * np.pi * hue * strength
        along, across = np.cos(angle) * saturation, np.sin(angle) * saturation
        turn = np.array([[1, 0, 0], [0, along, -across], [0, across, along]])
        matrix = (1 + brightness) * (1 + contrast) * (_FROM_YIQ @ turn @ _TO_YIQ)
        offset = -0.5 * contrast
    if generator.random() < 0.2:
        matrix = np.outer(np.ones(3), GREY @ matrix)
    return matrix, offset


def render(images: Sequence[Pixels], views: Sequence[Augmentation], size: int) -> Tensor:
    """One view of each image (H, W, 3) uint8 RGB: (n, 3, size, size) float32 in [0, 1]."""
    cut = torch.stack([_cut(image, view, size) for image, view in zip(images, views, strict=True)])
    matrices = torch.tensor(np.stack([view.colours[0] for view in views]), dtype=torch.float32)
    offsets = torch.tensor([view.colours[1] for view in views], dtype=torch.float32)
    flat = cut.reshape(len(cut), 3, -1).float() / 255
    batch = torch.baddbmm(offsets[:, None, None], matrices, flat).clamp_(0, 1).view(cut.shape)
    for number, view in enumerate(views):
        if view.blur:
            radius = int(np.ceil(2 * view.blur))
            kernel = [2 * radius + 1] * 2
            batch[number] = transforms.gaussian_blur(batch[number], kernel, [view.blur] * 2)
        if view.solarized:
            batch[number] = transforms.solarize(batch[number], 0.5)
    return batch


def _cut(image: Pixels, view: Augmentation, size: int) -> Tensor:
    part = torch.from_numpy(image[view.box.slices].copy()).permute(2, 0, 1)
    resized: Tensor = transforms.resize(part, [size, size], antialias=True)
    return resized.flip(-1) if view.flipped else resized


def shared_points(
    first: Augmentation,
    second: Augmentation,
    count: int,
    generator: np.random.Generator,
    reach: float = 0.0,
) -> NDArray[np.float32]:
    """Points of an image that two of its views show, sampled uniformly from their overlap.

    The second view's points lie apart from the first's by a standard deviation along each axis of
    `reach`, a share of the first view's side in the image; none leaves its view.

    Returns:
        (2, count, 2) float32 x and y in [-1, 1] within each view, as `grid_sample` counts them
        without align_corners; outside of the views if these do not overlap.
    """
    both, box = first.box.overlap(second.box), second.box
    points = generator.random((count, 2)) * (both.width, both.height) + (both.left, both.top)
    side = np.sqrt(first.box.height * first.box.width)
    near = points + reach * side * generator.standard_normal((count, 2))
    near = np.clip(near, (box.left, box.top), (box.right, box.bottom)) if reach else points
    return np.stack([_within(first, points), _within(second, near)])


def _within(view: Augmentation, points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points (n, 2) of the image, x and y in pixels, in [-1, 1] of a view."""
    box = view.box
    relative = (points - (box.left, box.top)) / (box.width, box.height) * 2 - 1
    return (relative * ((-1, 1) if view.flipped else (1, 1))).astype(np.float32)
