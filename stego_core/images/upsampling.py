"""Codes interpolated from patches to pixels, band by band so that memory stays bounded."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stego_core.images.geometry import Window

BAND_FLOATS = 16 * 2**20
"""Floats of interpolated codes held at once (64 MiB)."""


def upsampled(
    maps: NDArray[np.float32], size: tuple[int, int], window: Window
) -> NDArray[np.float32]:
    """Bilinear values of a map (h, w, D) in a window of the full image: (height, width, D) float32.

    Pixel centres are aligned with those of the full image of this `size` (H, W); borders repeat.
    """
    rows = _interpolation(maps.shape[0], size[0], window.top, window.bottom)
    columns = _interpolation(maps.shape[1], size[1], window.left, window.right)
    wide = np.ascontiguousarray(np.tensordot(maps, columns, axes=(1, 1)).transpose(0, 2, 1))
    full = rows @ wide.reshape(len(wide), -1)  # one large product: many small ones crawl
    return full.reshape(window.height, window.width, maps.shape[-1])


def _interpolation(cells: int, pixels: int, start: int, stop: int) -> NDArray[np.float32]:
    """(stop − start, cells) weights of linear interpolation at pixel centres."""
    position = ((np.arange(start, stop) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    low = np.floor(position).astype(np.intp).clip(0, max(cells - 2, 0))
    fraction = (position - low).astype(np.float32)
    weights = np.zeros((stop - start, cells), np.float32)
    index = np.arange(stop - start)
    weights[index, low] += 1 - fraction
    weights[index, np.minimum(low + 1, cells - 1)] += fraction
    return weights


def cosines_at(
    vectors: NDArray[np.float32],
    codes: NDArray[np.float32],
    size: tuple[int, int],
    window: Window,
) -> NDArray[np.float32]:
    """Cosines of codes interpolated in a window with vectors, times the vectors' lengths.

    Interpolation is linear, so that the K products are interpolated in place of the D codes; the
    squared length of (1 − t) a + t b is (1 − t)² a·a + 2 t (1 − t) a·b + t² b·b. Where opposite
    codes leave less than a thousandth of their length, nothing but rounding is left, and what is
    found is nearer to 0 than the cosine.

    Args:
        vectors: (K, D) float32.
        codes: (h, w, D) float32 of the whole image.
        size: (H, W) of the whole image.
        window: the part of it that is wanted.

    Returns:
        (K, height, width) float32; in memory the K of a pixel lie side by side.
    """
    rows = _interpolation(codes.shape[0], size[0], window.top, window.bottom)
    columns = _interpolation(codes.shape[1], size[1], window.left, window.right)
    wide = np.ascontiguousarray(np.tensordot(codes, columns, axes=(1, 1)).transpose(0, 2, 1))
    own = np.einsum("rxd,rxd->rx", wide, wide)
    next_row = np.einsum("rxd,rxd->rx", wide[:-1], wide[1:])
    squares = rows**2 @ own + 2 * (rows[:, :-1] * rows[:, 1:]) @ next_row
    least = np.maximum(np.float32(1e-6) * (rows @ own), np.finfo(np.float32).tiny)
    cosines = rows @ (wide @ vectors.T).reshape(len(wide), -1)
    cosines = cosines.reshape(window.height, window.width, len(vectors))
    cosines /= np.sqrt(np.maximum(squares, least))[..., None]
    return cosines.transpose(2, 0, 1)


def scores_at(
    score: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    codes: NDArray[np.float32],
    size: tuple[int, int],
    window: Window,
) -> NDArray[np.float32]:
    """Scores (K, height, width) float32 of a window from codes interpolated there, band by band.

    Args:
        score: turns codes (n, m, D) into scores (n, m, K).
        codes: (h, w, D) float32 of the whole image.
        size: (H, W) of the whole image.
        window: the part of it that is scored.
    """
    band = max(BAND_FLOATS // (window.width * codes.shape[-1]), 1)
    parts = []
    for top in range(window.top, window.bottom, band):
        rows = Window(top, window.left, min(top + band, window.bottom), window.right)
        parts.append(score(upsampled(codes, size, rows)).transpose(2, 0, 1))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
