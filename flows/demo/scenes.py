"""Generated street scenes with pixel-exact labels, drawn by a small pinhole ray caster."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flows.demo.street import (
    BUILDING,
    CAR,
    PAVEMENT,
    PERSON,
    ROAD,
    SKY,
    TREE,
    Floats,
    Street,
)
from stego_core.labels.void import VOID_BYTE

Mask = NDArray[np.bool_]
Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Layers = list[tuple[Mask, Floats]]  # shapes (h, w), each with its colour (3,) or colours (n, 3)
_BLACK, _WHITE = np.full(3, 0.07, np.float32), np.full(3, 0.88, np.float32)


def scene_generator(seed: int, index: int) -> np.random.Generator:
    """The generator of scene `index` (>= 0): the same however many scenes a corpus has."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def scene(
    generator: np.random.Generator, size: tuple[int, int] | None = None, rendering: int = 0
) -> Scene:
    """Draw one street.

    `size` is (height, width) in pixels, 64 or more; by default it varies around (240, 320), and
    one scene in ten is upright. Every `rendering` (>= 0) of a fresh generator has the same labels
    in other colours, textures and light. Returns the image (H, W, 3) uint8 RGB and the labels
    (H, W) uint8: indices into `SCENE_CLASSES`, or `VOID`.
    """
    appearance = generator.spawn(rendering + 1)[rendering]
    height, width = generator.integers((216, 288), (265, 353)).tolist()
    usual = (height, width) if generator.random() < 0.9 else (width, height)
    street = _plan(generator, appearance, size or usual)
    haze = _paint_sky(street)
    _paint_ground(street)
    _paint_houses(street)
    _paint_figures(street)
    return _develop(street, haze), street.labels


def _plan(
    layout: np.random.Generator, appearance: np.random.Generator, size: tuple[int, int]
) -> Street:
    """An empty picture of `size` (height, width), and the street it will show."""
    height, width = size
    focal, road = layout.uniform(0.8, 1.1) * max(size), layout.uniform(2.6, 4.0)
    row, column = height * layout.uniform(0.38, 0.56), width * layout.uniform(0.3, 0.7)
    return Street(
        layout=layout,
        appearance=appearance,
        rgb=np.zeros((height, width, 3), np.float32),
        labels=np.full(size, SKY, np.uint8),
        depth=np.full(size, 60.0, np.float32),  # not infinite: haze must leave the sky its clouds
        right=((np.arange(width) + 0.5 - column) / focal).astype(np.float32),
        down=((np.arange(height)[:, None] + 0.5 - row) / focal).astype(np.float32),
        eye=float(layout.uniform(1.5, 2.6)),
        road=float(road),
        wall=float(road + layout.uniform(2.2, 5.0)),
        sun=int(appearance.choice([-1, 1])),
    )


def _paint_sky(street: Street) -> Floats:
    """Fill the picture with sky and return the colour (3,) of its horizon."""
    zenith = street.colour(SKY)
    horizon = 0.5 * zenith + 0.5 * street.colour(SKY)
    fall = np.clip(1 - street.down / street.down[0], 0, 1)[..., None]
    cover, soft, tone = street.appearance.uniform((0.35, 0.1, 0.7), (0.8, 0.4, 1.5)).astype(
        np.float32
    )
    cloud = np.clip(
        (street.noise(street.appearance, street.labels.shape, (6, 4)) - cover) / soft, 0, 1
    )[..., None]
    street.rgb[:] = (zenith + fall * (horizon - zenith)) * (1 - cloud) + cloud * horizon * tone
    return horizon


def _paint_ground(street: Street) -> None:
    rows = street.down[:, 0] > 0.004
    z = street.eye / street.down[rows]
    x, z = np.broadcast_arrays(street.right * z, z)
    reach = street.wall * street.appearance.uniform(-1.0, 1.4)
    shadow = street.sun * x > reach - 4.0 * street.tiles(z / 9.0, 0 * z)  # of the houses' roofs
    light = np.where(shadow, np.float32(street.appearance.uniform(0.5, 0.9)), np.float32(1.0))
    fade = np.clip(1.2 - z / 30.0, 0, 1)  # texture finer than a pixel would only flicker
    on_road = np.abs(x) < street.road
    colours = np.where(on_road[..., None], _asphalt(street, x, z, fade), _slabs(street, x, z, fade))
    street.rgb[rows] = colours * light[..., None]
    street.labels[rows], street.depth[rows] = np.where(on_road, ROAD, PAVEMENT), z


def _asphalt(street: Street, x: Floats, z: Floats, fade: Floats) -> Floats:
    """Colours (h, w, 3) of the road with its grain, repairs and paint, at (x, z) metres."""
    random = street.appearance
    grain, repairs = street.tiles(x * 22, z * 11) - 0.5, street.tiles(x / 2.2, z / 7.0) - 0.5
    colours: Floats = street.colour(ROAD) * (1 + 0.3 * fade * grain + 0.16 * repairs)[..., None]
    painted = (np.abs(x) < 0.09) & (z % 5.0 < 3.0)
    painted |= np.abs(np.abs(x) - street.road + 0.35) < random.choice([0.0, 0.06])
    painted |= (np.abs(z - random.uniform(6, 40)) < 1.5) & (x % 1.0 < 0.5)
    colours[painted] = 0.3 * colours[painted] + random.choice([[0.6] * 3, [0.6, 0.45, 0.1]])
    return colours


def _slabs(street: Street, x: Floats, z: Floats, fade: Floats) -> Floats:
    """Colours (h, w, 3) of the pavement: slabs in running bond behind a kerb."""
    u, v = z / street.appearance.uniform(0.5, 0.9), x / street.appearance.uniform(0.4, 0.8)
    tone = street.bricks(u, v, fade)
    tone[np.abs(x) < street.road + 0.22] = street.appearance.choice([0.7, 1.3])
    return np.asarray(street.colour(PAVEMENT) * tone[..., None], np.float32)


def _paint_houses(street: Street) -> None:
    """Raise a row of houses on each side, near ones first, and mostly close the street's end."""
    far = street.layout.uniform(30, 60)
    for side in (-1, 1):
        ahead = np.maximum(side * street.right, 1e-4)
        row = street.wall / ahead  # how far ahead a column's rays meet the row of houses
        lit = 0.75 if side == street.sun else 1.1
        stops = np.cumsum(street.layout.uniform(5, 14, 9)) - street.layout.uniform(3, 10)
        for near, end in pairwise(stops[stops < far].tolist()):
            gable = row < near  # the wall that looks down the street, met beyond the row
            u = np.where(gable, ahead * near - street.wall, row - near)
            visible = (row < end) & (~gable | (u < 12))
            if street.layout.random() < 0.8:
                z, light = np.where(gable, near, row), np.where(gable, 0.85, lit)
                _paint_house(street, visible, u, z.astype(np.float32), light.astype(np.float32))
    if street.layout.random() < 0.7:
        z = np.full_like(street.right, far)
        _paint_house(street, z > 0, street.right * z, z, np.ones_like(z))


def _paint_house(street: Street, visible: Mask, u: Floats, z: Floats, light: Floats) -> None:
    """Paint a house behind those there are; each column (W,) sees it `z` ahead, `u` along it."""
    height = street.layout.uniform(5.5, 16.0)
    up = street.eye - street.down * z
    mask = (up > 0) & (up < height) & visible & (street.labels != BUILDING)
    u, z, light = (np.broadcast_to(values, mask.shape)[mask] for values in (u, z, light))
    colours = _masonry(street, u, up[mask], height, np.clip(1.3 - z / 20, 0, 1))
    street.rgb[mask], street.depth[mask] = colours * light[:, None], z
    street.labels[mask] = BUILDING


def _masonry(street: Street, u: Floats, v: Floats, height: float, fade: Floats) -> Floats:
    """Colours (n, 3) of a wall `u` metres along and `v` up; `fade` scales the finest detail."""
    bay, storey = street.appearance.uniform((1.6, 2.6), (3.4, 3.6)).tolist()
    tone = 0.94 + 0.12 * street.tiles(u / 1.7, v / 1.3)
    if street.appearance.random() < 0.5:
        tone *= street.bricks(u * 2.5, v * 5, fade)
    colours: Floats = street.colour(BUILDING) * tone[:, None]
    column, floor = u / bay, (v - height) / storey  # storeys hang from the roof
    across, up = np.abs(column - np.floor(column) - 0.5), np.abs(floor - np.floor(floor) - 0.5)
    colours[(v > height - 0.4) | ((across < 0.36) & (up < 0.36))] = street.colour(BUILDING)
    pane = (across < 0.29) & (up < 0.29) & (across > 0.03)
    glint = street.appearance.uniform(0.3, 1.0) * (0.5 + street.tiles(column[pane], floor[pane]))
    colours[pane] = street.colour(SKY) * glint[:, None]
    return colours


def _tree(street: Street, u: Floats, v: Floats) -> Layers:
    """A trunk under a crown of overlapping lumps with ragged edges and leafy blotches."""
    leaves = street.noise(street.layout, u.shape, (14, 10)) - 0.5
    crown = 1.6 * leaves - 0.1
    lumps = street.layout.uniform((-0.5, 0.45, 0.25), (0.5, 0.8, 0.5), (7, 3))
    crown += np.max([1 - ((u - x) ** 2 + 4 * (v - y) ** 2) / r**2 for x, y, r in lumps], axis=0)
    shade = 0.6 + 0.35 * v + 0.2 * street.sun * -u + 1.5 * leaves + 0.2 * (leaves > 0.08)
    trunk = (np.abs(u) < 0.07 * (1.4 - v)) & (v > 0) & (v < 0.7)
    leafy = street.colour(TREE) * np.clip(shade, 0.2, 1.6)[crown > 0][:, None]
    return [(trunk, street.colour(PERSON) * 0.6), (crown > 0, leafy)]


def _car(street: Street, u: Floats, v: Floats) -> Layers:
    """A car from behind or ahead: wheels, body, cabin, glass, lamps, number plate."""
    paint, a = street.colour(CAR), np.abs(u)
    lamp = np.asarray([[0.8, 0.1, 0.1], [0.95, 0.9, 0.7]], np.float32)[
        street.appearance.integers(2)
    ]
    return [
        ((a > 0.6) & (a < 0.92) & (v > 0) & (v < 0.3), _BLACK),
        ((a < 0.98 - 0.5 * np.maximum(v - 0.5, 0)) & (v > 0.14) & (v < 0.66), paint),
        ((a < 1.16 - 0.56 * v) & (v > 0.6) & (v < 0.98), paint * 0.9),
        ((a < 1.04 - 0.56 * v) & (v > 0.66) & (v < 0.91), street.colour(SKY) * 0.5),
        ((a > 0.7) & (a < 0.92) & (v > 0.47) & (v < 0.58), lamp),
        ((a < 0.24) & (v > 0.36) & (v < 0.45), _WHITE),
    ]


def _person(street: Street, u: Floats, v: Floats) -> Layers:
    """A walker: legs apart, arms, coat, head and hair."""
    coat, trousers, hair = (street.colour(PERSON) for _ in range(3))
    stride, hem = street.layout.uniform((0.1, 0.3), (0.8, 0.5))
    skin = street.appearance.uniform(0.35, 1.0)
    a, head = np.abs(u), (u / 0.34) ** 2 + ((v - 0.92) / 0.08) ** 2 < 1
    return [
        ((np.abs(a - 0.22 - stride * (0.5 - v)) < 0.2) & (v > 0) & (v < 0.52), trousers),
        ((np.abs(a - 0.93 + 0.3 * v) < 0.15) & (v > 0.42) & (v < 0.82), coat * 0.8),
        ((a < 0.62 - 2.4 * np.maximum(v - 0.76, 0)) & (v > hem) & (v < 0.86), coat),
        (head, np.asarray([0.9, 0.7, 0.55], np.float32) * skin),
        (head & (v > 0.94), hair),
    ]


def _post(street: Street, u: Floats, v: Floats) -> Layers:
    """A lamp post with its lantern."""
    pole, lantern = (np.abs(u) < 0.25) & (v > 0), (np.abs(u) < 0.9) & (v > 0.95)
    return [(pole, street.colour(CAR)), (lantern, _WHITE)]


# Label, drawing, number, then low and high metres: ahead, beyond the kerb, half width, height.
_CAST = (
    (TREE, _tree, (2, 6), (5, 0.8, 1.5, 4.5), (28, 3.0, 3.0, 9.0)),
    (CAR, _car, (2, 6), (5, -2.2, 0.85, 1.4), (18, -1.0, 1.0, 2.0)),
    (PERSON, _person, (4, 9), (4.5, -1.8, 0.3, 1.6), (10, 1.2, 0.4, 1.9)),
    (VOID_BYTE, _post, (0, 3), (6, 0.4, 0.15, 4.5), (30, 0.6, 0.2, 6.5)),
)


def _paint_figures(street: Street) -> None:
    """Stand the cast in the street, far figures first, each on a contact shadow."""
    cast = [role for role in _CAST for _ in range(street.layout.integers(*role[2]))]
    sizes = [street.layout.uniform(low, high).tolist() for *_, low, high in cast]
    for index in np.argsort([-ahead for ahead, *_ in sizes]):
        (label, draw, *_), (z, kerb, half, high) = cast[index], sizes[index]
        x = street.layout.choice([-1, 1]) * (street.road + kerb)
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


def _develop(street: Street, haze: Floats) -> NDArray[np.uint8]:
    """The finished photograph (H, W, 3): haze, light, colour cast, lens blur and sensor noise."""
    random = street.appearance
    clear = np.exp(street.depth / -random.choice([40, 100, 400, 400]).astype(np.float32))[..., None]
    light = (random.uniform(0.6, 1.35) * random.uniform(0.92, 1.08, 3)).astype(np.float32)
    exposed = np.clip((haze + clear * (street.rgb - haze)) * light, 0, 1)
    toned = exposed ** np.float32(random.uniform(0.8, 1.3))
    wide = np.pad(toned, ((1, 1), (1, 1), (0, 0)), "edge")
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    toned += np.float32(random.uniform(0.02, 0.14)) * (around - 4 * toned)
    grain = random.standard_normal((*street.labels.shape, 1), np.float32)
    toned += np.float32(random.uniform(0.008, 0.03)) * grain
    return np.asarray(np.clip(toned, 0, 1) * 255.0 + 0.5, np.uint8)
