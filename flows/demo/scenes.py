"""Generated street scenes with pixel-exact labels, drawn by a small pinhole ray caster."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stego_core.labels.void import VOID_BYTE

SCENE_CLASSES: tuple[str, ...] = ("sky", "building", "road", "pavement", "tree", "car", "person")
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PERSON = range(7)

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Layers = list[tuple[Mask, Floats]]  # shapes (h, w), each with its colour (3,) or colours (n, 3)

# Plausible, but overlapping in hue and brightness: colour alone must not name the class.
_PALETTES = tuple(
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
_BLACK, _WHITE = np.full(3, 0.07, np.float32), np.full(3, 0.88, np.float32)


@dataclass(frozen=True)
class _Street:
    """The picture being painted, the camera's rays and the street's plan in metres."""

    random: np.random.Generator
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
        first, second = _PALETTES[label][self.random.integers(len(_PALETTES[label]), size=2)]
        mixed = first + self.random.uniform(0.0, 0.4) * (second - first)
        tinted = mixed * self.random.uniform(0.75, 1.25) + self.random.normal(0, 0.02, 3)
        return np.asarray(np.clip(tinted, 0.02, 0.98), np.float32)

    def tiles(self, u: Floats, v: Floats) -> Floats:
        """A random value in 0..1 for each unit square of a plane, at its points (u, v)."""
        table, row, column = self.random.random((32, 32)), np.floor(v), np.floor(u)
        return np.asarray(table[row.astype(int) & 31, column.astype(int) & 31], np.float32)

    def bricks(self, u: Floats, v: Floats, fade: Floats) -> Floats:
        """Tones around 1 of unit bricks in running bond and their mortar; `fade` 0 flattens it."""
        row = np.floor(v)
        shifted = u + np.float32(0.5) * (row % np.float32(2))
        mortar = (shifted - np.floor(shifted) < 0.05) | (v - row < 0.1)
        return 1 + fade * np.where(mortar, np.float32(-0.3), 0.3 * self.tiles(shifted, v) - 0.15)

    def noise(self, shape: tuple[int, ...], cells: tuple[int, int]) -> Floats:
        """Bilinear noise (H, W) in 0..1: three octaves, the first of `cells` (down, across)."""
        total = np.zeros(shape, np.float32)
        for octave in (1, 2, 4):
            grid = self.random.random([octave * c + 2 for c in cells], np.float32)
            for n, c in zip(shape, cells, strict=True):  # down, then across; no BLAS threads
                low, part = np.divmod(np.linspace(0, octave * c, n, dtype=np.float32)[:, None], 1)
                knots = low[:, 0].astype(int)
                grid = (grid[knots] + part * np.diff(grid, axis=0)[knots]).T
            total += grid / np.float32(1.75 * octave)
        return total


def scene_generator(seed: int, index: int) -> np.random.Generator:
    """The generator of scene `index` (>= 0): the same however many scenes a corpus has."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def scene(generator: np.random.Generator, size: tuple[int, int] | None = None) -> Scene:
    """Draw one street.

    `size` is (height, width) in pixels, 64 or more; by default it varies around (240, 320), and
    one scene in ten is upright. Returns the image (H, W, 3) uint8 RGB and the labels (H, W)
    uint8: indices into `SCENE_CLASSES`, or `VOID`.
    """
    height, width = generator.integers((216, 288), (265, 353)).tolist()
    usual = (height, width) if generator.random() < 0.9 else (width, height)
    street = _plan(generator, size or usual)
    haze = _paint_sky(street)
    _paint_ground(street)
    _paint_houses(street)
    _paint_figures(street)
    return _develop(street, haze), street.labels


def _plan(generator: np.random.Generator, size: tuple[int, int]) -> _Street:
    """An empty picture of `size` (height, width), and the street it will show."""
    height, width = size
    focal, road = generator.uniform(0.8, 1.1) * max(size), generator.uniform(2.6, 4.0)
    row, column = height * generator.uniform(0.38, 0.56), width * generator.uniform(0.3, 0.7)
    return _Street(
        random=generator,
        rgb=np.zeros((height, width, 3), np.float32),
        labels=np.full(size, SKY, np.uint8),
        depth=np.full(size, 60.0, np.float32),  # not infinite: haze must leave the sky its clouds
        right=((np.arange(width) + 0.5 - column) / focal).astype(np.float32),
        down=((np.arange(height)[:, None] + 0.5 - row) / focal).astype(np.float32),
        eye=float(generator.uniform(1.5, 2.6)),
        road=float(road),
        wall=float(road + generator.uniform(2.2, 5.0)),
        sun=int(generator.choice([-1, 1])),
    )


def _paint_sky(street: _Street) -> Floats:
    """Fill the picture with sky and return the colour (3,) of its horizon."""
    zenith = street.colour(SKY)
    horizon = 0.5 * zenith + 0.5 * street.colour(SKY)
    fall = np.clip(1 - street.down / street.down[0], 0, 1)[..., None]
    cover, soft, tone = street.random.uniform((0.35, 0.1, 0.7), (0.8, 0.4, 1.5)).astype(np.float32)
    cloud = np.clip((street.noise(street.labels.shape, (6, 4)) - cover) / soft, 0, 1)[..., None]
    street.rgb[:] = (zenith + fall * (horizon - zenith)) * (1 - cloud) + cloud * horizon * tone
    return horizon


def _paint_ground(street: _Street) -> None:
    rows = street.down[:, 0] > 0.004
    z = street.eye / street.down[rows]
    x, z = np.broadcast_arrays(street.right * z, z)
    reach = street.wall * street.random.uniform(-1.0, 1.4)
    shadow = street.sun * x > reach - 4.0 * street.tiles(z / 9.0, 0 * z)  # of the houses' roofs
    light = np.where(shadow, np.float32(street.random.uniform(0.5, 0.9)), np.float32(1.0))
    fade = np.clip(1.2 - z / 30.0, 0, 1)  # texture finer than a pixel would only flicker
    on_road = np.abs(x) < street.road
    colours = np.where(on_road[..., None], _asphalt(street, x, z, fade), _slabs(street, x, z, fade))
    street.rgb[rows] = colours * light[..., None]
    street.labels[rows], street.depth[rows] = np.where(on_road, ROAD, PAVEMENT), z


def _asphalt(street: _Street, x: Floats, z: Floats, fade: Floats) -> Floats:
    """Colours (h, w, 3) of the road with its grain, repairs and paint, at (x, z) metres."""
    grain, repairs = street.tiles(x * 22, z * 11) - 0.5, street.tiles(x / 2.2, z / 7.0) - 0.5
    colours: Floats = street.colour(ROAD) * (1 + 0.3 * fade * grain + 0.16 * repairs)[..., None]
    painted = (np.abs(x) < 0.09) & (z % 5.0 < 3.0)
    painted |= np.abs(np.abs(x) - street.road + 0.35) < street.random.choice([0.0, 0.06])
    painted |= (np.abs(z - street.random.uniform(6, 40)) < 1.5) & (x % 1.0 < 0.5)
    colours[painted] = 0.3 * colours[painted] + street.random.choice([[0.6] * 3, [0.6, 0.45, 0.1]])
    return colours


def _slabs(street: _Street, x: Floats, z: Floats, fade: Floats) -> Floats:
    """Colours (h, w, 3) of the pavement: slabs in running bond behind a kerb."""
    u, v = z / street.random.uniform(0.5, 0.9), x / street.random.uniform(0.4, 0.8)
    tone = street.bricks(u, v, fade)
    tone[np.abs(x) < street.road + 0.22] = street.random.choice([0.7, 1.3])
    return np.asarray(street.colour(PAVEMENT) * tone[..., None], np.float32)


def _paint_houses(street: _Street) -> None:
    """Raise a row of houses on each side, near ones first, and mostly close the street's end."""
    far = street.random.uniform(30, 60)
    for side in (-1, 1):
        ahead = np.maximum(side * street.right, 1e-4)
        row = street.wall / ahead  # how far ahead a column's rays meet the row of houses
        lit = 0.75 if side == street.sun else 1.1
        stops = np.cumsum(street.random.uniform(5, 14, 9)) - street.random.uniform(3, 10)
        for near, end in pairwise(stops[stops < far].tolist()):
            gable = row < near  # the wall that looks down the street, met beyond the row
            u = np.where(gable, ahead * near - street.wall, row - near)
            visible = (row < end) & (~gable | (u < 12))
            if street.random.random() < 0.8:
                z, light = np.where(gable, near, row), np.where(gable, 0.85, lit)
                _paint_house(street, visible, u, z.astype(np.float32), light.astype(np.float32))
    if street.random.random() < 0.7:
        z = np.full_like(street.right, far)
        _paint_house(street, z > 0, street.right * z, z, np.ones_like(z))


def _paint_house(street: _Street, visible: Mask, u: Floats, z: Floats, light: Floats) -> None:
    """Paint a house behind those there are; each column (W,) sees it `z` ahead, `u` along it."""
    height = street.random.uniform(5.5, 16.0)
    up = street.eye - street.down * z
    mask = (up > 0) & (up < height) & visible & (street.labels != BUILDING)
    u, z, light = (np.broadcast_to(values, mask.shape)[mask] for values in (u, z, light))
    colours = _masonry(street, u, up[mask], height, np.clip(1.3 - z / 20, 0, 1))
    street.rgb[mask], street.depth[mask] = colours * light[:, None], z
    street.labels[mask] = BUILDING


def _masonry(street: _Street, u: Floats, v: Floats, height: float, fade: Floats) -> Floats:
    """Colours (n, 3) of a wall `u` metres along and `v` up; `fade` scales the finest detail."""
    bay, storey = street.random.uniform((1.6, 2.6), (3.4, 3.6)).tolist()
    tone = 0.94 + 0.12 * street.tiles(u / 1.7, v / 1.3)
    if street.random.random() < 0.5:
        tone *= street.bricks(u * 2.5, v * 5, fade)
    colours: Floats = street.colour(BUILDING) * tone[:, None]
    column, floor = u / bay, (v - height) / storey  # storeys hang from the roof
    across, up = np.abs(column - np.floor(column) - 0.5), np.abs(floor - np.floor(floor) - 0.5)
    colours[(v > height - 0.4) | ((across < 0.36) & (up < 0.36))] = street.colour(BUILDING)
    pane = (across < 0.29) & (up < 0.29) & (across > 0.03)
    glint = street.random.uniform(0.3, 1.0) * (0.5 + street.tiles(column[pane], floor[pane]))
    colours[pane] = street.colour(SKY) * glint[:, None]
    return colours


def _tree(street: _Street, u: Floats, v: Floats) -> Layers:
    """A trunk under a crown of overlapping lumps with ragged edges and leafy blotches."""
    leaves = street.noise(u.shape, (14, 10)) - 0.5
    crown = 1.6 * leaves - 0.1
    lumps = street.random.uniform((-0.5, 0.45, 0.25), (0.5, 0.8, 0.5), (7, 3))
    crown += np.max([1 - ((u - x) ** 2 + 4 * (v - y) ** 2) / r**2 for x, y, r in lumps], axis=0)
    shade = 0.6 + 0.35 * v + 0.2 * street.sun * -u + 1.5 * leaves + 0.2 * (leaves > 0.08)
    trunk = (np.abs(u) < 0.07 * (1.4 - v)) & (v > 0) & (v < 0.7)
    leafy = street.colour(TREE) * np.clip(shade, 0.2, 1.6)[crown > 0][:, None]
    return [(trunk, street.colour(PERSON) * 0.6), (crown > 0, leafy)]


def _car(street: _Street, u: Floats, v: Floats) -> Layers:
    """A car from behind or ahead: wheels, body, cabin, glass, lamps, number plate."""
    paint, a = street.colour(CAR), np.abs(u)
    lamp = np.asarray([[0.8, 0.1, 0.1], [0.95, 0.9, 0.7]], np.float32)[street.random.integers(2)]
    return [
        ((a > 0.6) & (a < 0.92) & (v > 0) & (v < 0.3), _BLACK),
        ((a < 0.98 - 0.5 * np.maximum(v - 0.5, 0)) & (v > 0.14) & (v < 0.66), paint),
        ((a < 1.16 - 0.56 * v) & (v > 0.6) & (v < 0.98), paint * 0.9),
        ((a < 1.04 - 0.56 * v) & (v > 0.66) & (v < 0.91), street.colour(SKY) * 0.5),
        ((a > 0.7) & (a < 0.92) & (v > 0.47) & (v < 0.58), lamp),
        ((a < 0.24) & (v > 0.36) & (v < 0.45), _WHITE),
    ]


def _person(street: _Street, u: Floats, v: Floats) -> Layers:
    """A walker: legs apart, arms, coat, head and hair."""
    coat, trousers, hair = (street.colour(PERSON) for _ in range(3))
    stride, hem, skin = street.random.uniform((0.1, 0.3, 0.35), (0.8, 0.5, 1.0))
    a, head = np.abs(u), (u / 0.34) ** 2 + ((v - 0.92) / 0.08) ** 2 < 1
    return [
        ((np.abs(a - 0.22 - stride * (0.5 - v)) < 0.2) & (v > 0) & (v < 0.52), trousers),
        ((np.abs(a - 0.93 + 0.3 * v) < 0.15) & (v > 0.42) & (v < 0.82), coat * 0.8),
        ((a < 0.62 - 2.4 * np.maximum(v - 0.76, 0)) & (v > hem) & (v < 0.86), coat),
        (head, np.asarray([0.9, 0.7, 0.55], np.float32) * skin),
        (head & (v > 0.94), hair),
    ]


def _post(street: _Street, u: Floats, v: Floats) -> Layers:
    """A lamp post with its lantern."""
    pole, lantern = (np.abs(u) < 0.25) & (v > 0), (np.abs(u) < 0.9) & (v > 0.95)
    return [(pole, street.colour(CAR)), (lantern, _WHITE)]


# Label, drawing, number, then low and high metres: ahead, beyond the kerb, half width, height.
_CAST = (
    (TREE, _tree, (2, 7), (5, 0.8, 1.5, 4.5), (40, 3.0, 3.0, 9.0)),
    (CAR, _car, (2, 7), (6, -2.2, 0.85, 1.4), (30, -1.0, 1.0, 2.0)),
    (PERSON, _person, (3, 8), (4.5, -1.5, 0.28, 1.55), (14, 2.0, 0.38, 1.9)),
    (VOID_BYTE, _post, (0, 3), (6, 0.4, 0.15, 4.5), (30, 0.6, 0.2, 6.5)),
)


def _paint_figures(street: _Street) -> None:
    """Stand the cast in the street, far figures first, each on a contact shadow."""
    cast = [role for role in _CAST for _ in range(street.random.integers(*role[2]))]
    sizes = [street.random.uniform(low, high).tolist() for *_, low, high in cast]
    for index in np.argsort([-ahead for ahead, *_ in sizes]):
        (label, draw, *_), (z, kerb, half, high) = cast[index], sizes[index]
        x = street.random.choice([-1, 1]) * (street.road + kerb)
        u, v = (street.right * z - x) / half, (street.eye - street.down[:, 0] * z) / high
        columns, rows = np.flatnonzero(np.abs(u) < 1), np.flatnonzero((v > -0.1) & (v < 1))
        if min(len(columns), len(rows)) < 2:
            continue
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        rgb, labels, depth = street.rgb[window], street.labels[window], street.depth[window]
        across, up = np.meshgrid(u[columns], v[rows])
        rgb[((labels == ROAD) | (labels == PAVEMENT)) & (across**2 + (up / 0.06) ** 2 < 0.9)] *= 0.6
        for shape, colour in draw(street, across, up):
            rgb[shape], labels[shape], depth[shape] = colour, label, z


def _develop(street: _Street, haze: Floats) -> NDArray[np.uint8]:
    """The finished photograph (H, W, 3): haze, light, colour cast, lens blur and sensor noise."""
    random = street.random
    clear = np.exp(street.depth / -random.choice([40, 100, 400, 400]).astype(np.float32))[..., None]
    light = (random.uniform(0.7, 1.25) * random.uniform(0.92, 1.08, 3)).astype(np.float32)
    exposed = np.clip((haze + clear * (street.rgb - haze)) * light, 0, 1)
    toned = exposed ** np.float32(random.uniform(0.8, 1.3))
    wide = np.pad(toned, ((1, 1), (1, 1), (0, 0)), "edge")
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    toned += np.float32(random.uniform(0.02, 0.14)) * (around - 4 * toned)
    grain = random.standard_normal((*street.labels.shape, 1), np.float32)
    toned += np.float32(random.uniform(0.008, 0.03)) * grain
    return np.asarray(np.clip(toned, 0, 1) * 255.0 + 0.5, np.uint8)
