"""The street of a generated scene: what is drawn on, in which colours and textures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCENE_CLASSES: tuple[str, ...] = ("sky", "building", "road", "pavement", "tree", "car", "person")
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PERSON = range(7)

Floats = NDArray[np.float32]

# Plausible, but overlapping in hue and brightness: colour alone must not name the class.
PALETTES = tuple(
    np.asarray([list(bytes.fromhex(code)) for code in codes.split()]) / 255.0
    for codes in (
        "6fa4d8 8fb4dc b9d0e4 c9cdd0 d8dcde c8d4e6 9fc0e4 a4adb6 e0b088 d8b0b8 6f7f96",
        "a8553f c9b48c 7d8a97 d8d4c8 5c4a44 b98d5a 6f7f6a 93a9c0 4a4844 c77f6a 8a6f86",
        "3b3d42 4a4b4e 5a5a5c 53565c 6b6c70 33302e 4a5566 6f5a50 8d8a84",
        "a59c8e 9d9fa4 c7bba4 9f6f5c 7b7672 b7b9bd 8a94a0 d2ccc0 b89a7c 64686c",
        "3f6b35 5d7f36 2b4a34 4a7a40 6f8f4a 3a5f2a 7fae4a 24352a a98a33 b8602f 8c3b32",
        "c23b32 2f5fa3 e2e3e4 2a2c30 8d9298 d8b13c 3f7a58 7a4a3a b9c7d2 5b3f6b",
        "2c3448 b23a48 d9c9a3 4d6b50 e3e3de 6b4c3b 3f7fa8 c98232 7c7f86 1f1f22",
    )
)


@dataclass(frozen=True)
class Street:
    """The picture being painted, the camera's rays and the street's plan in metres."""

    layout: np.random.Generator  # samples what stands where, and thereby the labels
    appearance: np.random.Generator  # samples colours, textures, light and camera
    rgb: Floats  # (H, W, 3) in 0..1
    labels: NDArray[np.uint8]  # (H, W)
    depth: Floats  # (H, W) metres ahead
    right: Floats  # (W,) metres to the right per metre ahead, of each column's rays
    down: Floats  # (H, 1) metres down per metre ahead, of each row's rays
    eye: float  # metres above the ground
    road: float  # half width of the road
    wall: float  # from the middle of the road to the houses
    sun: int  # the side (-1 or 1) the light comes from

    def colour(self, label: int) -> Floats:
        """A colour (3,) of the class: two of its palette mixed, then darkened or brightened."""
        first, second = PALETTES[label][self.appearance.integers(len(PALETTES[label]), size=2)]
        mixed = first + self.appearance.uniform(0.0, 0.4) * (second - first)
        tinted = mixed * self.appearance.uniform(0.75, 1.25) + self.appearance.normal(0, 0.02, 3)
        return np.asarray(np.clip(tinted, 0.02, 0.98), np.float32)

    def tiles(self, u: Floats, v: Floats) -> Floats:
        """A random value in 0..1 for each unit square of a plane, at its points (u, v)."""
        table, row, column = self.appearance.random((32, 32)), np.floor(v), np.floor(u)
        return np.asarray(table[row.astype(int) & 31, column.astype(int) & 31], np.float32)

    def bricks(self, u: Floats, v: Floats, fade: Floats) -> Floats:
        """Tones around 1 of unit bricks in running bond and their mortar; `fade` 0 flattens it."""
        row = np.floor(v)
        shifted = u + np.float32(0.5) * (row % np.float32(2))
        mortar = (shifted - np.floor(shifted) < 0.05) | (v - row < 0.1)
        return 1 + fade * np.where(mortar, np.float32(-0.3), 0.3 * self.tiles(shifted, v) - 0.15)

    @staticmethod
    def noise(
        random: np.random.Generator, shape: tuple[int, ...], cells: tuple[int, int]
    ) -> Floats:
        """Bilinear noise (H, W) in 0..1: three octaves, the first of `cells` (down, across)."""
        total = np.zeros(shape, np.float32)
        for octave in (1, 2, 4):
            grid = random.random([octave * c + 2 for c in cells], np.float32)
            for n, c in zip(shape, cells, strict=True):  # down, then across; no BLAS threads
                low, part = np.divmod(np.linspace(0, octave * c, n, dtype=np.float32)[:, None], 1)
                knots = low[:, 0].astype(int)
                grid = (grid[knots] + part * np.diff(grid, axis=0)[knots]).T
            total += grid / np.float32(1.75 * octave)
        return total
