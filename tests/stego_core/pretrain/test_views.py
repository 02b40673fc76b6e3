"""Views: boxes inside the image, colours as told, and the same places found in both views."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stego_core.images.geometry import Window
from stego_core.pretrain.views import (
    Augmentation,
    Pixels,
    ViewRecipe,
    render,
    sample_augmentations,
    shared_points,
)

Array = NDArray[np.float64]
PLAIN = (np.eye(3), 0.0)
GREY = np.array([0.299, 0.587, 0.114])
YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
MANY = 1200

sides = st.integers(1, 600)
shares = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(lambda pair: tuple(sorted(pair)))
boxes = st.builds(Window.sized, *[st.integers(0, 30)] * 2, *[st.integers(1, 25)] * 2)


def recipe(**changes: object) -> ViewRecipe:
    options: dict[str, object] = {
        "global_size": 16,
        "local_size": 8,
        "local_views": 3,
        "window": (1.0, 1.0),
        "global_scale": (0.3, 0.9),
        "local_scale": (0.05, 0.3),
    }
    return ViewRecipe(**{**options, **changes})  # type: ignore[arg-type]


def drawn(shape: tuple[int, ...], seed: int = 0, **changes: object) -> list[Augmentation]:
    return sample_augmentations(shape, recipe(**changes), np.random.default_rng(seed))


@cache
def many(colour: float = 1.0) -> list[list[Augmentation]]:
    """Three views each of many images of 100×100, all from one generator."""
    plan, generator = recipe(local_views=1, colour=colour), np.random.default_rng(0)
    return [sample_augmentations((100, 100), plan, generator) for _ in range(MANY)]


def view(box: Window, **changes: object) -> Augmentation:
    options: dict[str, object] = {"flipped": False, "colours": PLAIN, "blur": 0.0}
    return Augmentation(box, **{"solarized": False, **options, **changes})  # type: ignore[arg-type]


def whole(image: Pixels) -> Window:
    return Window.sized(0, 0, *image.shape[:2])


def inside(box: Window, height: int, width: int) -> bool:
    return (
        min(box.top, box.left) >= 0
        and min(box.height, box.width) >= 1
        and box.top + box.height <= height
        and box.left + box.width <= width
    )


def often(happened: Sequence[bool], chance: float) -> bool:
    """Whether it happened as often as it should, within five standard deviations."""
    count = len(happened)
    return abs(sum(happened) - chance * count) < 5 * math.sqrt(chance * (1 - chance) * count)


class TestBoxes:
    @settings(max_examples=200, deadline=None)
    @given(sides, sides, shares, shares, shares, st.integers(0, 2**32))
    @example(8, 8, (1.0, 1.0), (0.01, 0.5), (0.01, 0.02), 0)
    @example(1, 500, (0.1, 0.5), (0.3, 1.0), (0.01, 0.1), 1)
    @example(500, 1, (0.1, 0.5), (0.3, 1.0), (0.01, 0.1), 2)
    @example(1, 1, (0.1, 0.5), (0.3, 1.0), (0.01, 0.1), 3)
    def test_lie_inside_the_image(
        self,
        height: int,
        width: int,
        window: tuple[float, float],
        scale: tuple[float, float],
        local: tuple[float, float],
        seed: int,
    ) -> None:
        views = drawn(
            (height, width, 3), seed, window=window, global_scale=scale, local_scale=local
        )
        assert len(views) == 5
        for one in views:
            assert inside(one.box, height, width)
            assert one.box.height >= min(8, height)
            assert one.box.width >= min(8, width)

    @settings(max_examples=100, deadline=None)
    @given(st.integers(100, 600), st.integers(100, 600), st.floats(0.02, 0.4), st.integers(0, 99))
    def test_of_a_window_lie_in_one_place(
        self, height: int, width: int, share: float, seed: int
    ) -> None:
        views = drawn(
            (height, width), seed, window=(share, share), global_scale=(1, 1), local_views=40
        )
        window = views[0].box
        assert views[1].box == window
        for one in views:
            assert inside(
                Window.sized(
                    one.box.top - window.top,
                    one.box.left - window.left,
                    one.box.height,
                    one.box.width,
                ),
                window.height,
                window.width,
            )
        if share * 16 / 9 * max(height, width) < min(height, width):
            area = window.height * window.width
            assert area == pytest.approx(height * width * share, abs=sum(window[2:]) / 2 + 1)

    @pytest.mark.parametrize("size", [(1, 500), (500, 1), (8, 8), (90, 160)])
    def test_of_the_whole_image_at_full_scale_are_the_image(self, size: tuple[int, int]) -> None:
        views = drawn((*size, 3), global_scale=(1, 1), local_scale=(1, 1))
        assert [one.box for one in views] == [Window.sized(0, 0, *size)] * 5

    @settings(max_examples=200, deadline=None)
    @given(
        st.integers(300, 600), st.integers(300, 600), st.floats(0.01, 0.25), st.integers(0, 2**32)
    )
    def test_have_their_share_of_the_area(
        self, height: int, width: int, share: float, seed: int
    ) -> None:
        plain = {"global_scale": (share, share), "local_scale": (share / 4, share / 4)}
        for number, one in enumerate(drawn((height, width), seed, **plain)):
            wanted = height * width * (share if number < 2 else share / 4)
            rounding = (one.box.height + one.box.width) / 2 + 1
            assert one.box.height * one.box.width == pytest.approx(wanted, abs=rounding)

    def test_shares_fill_their_range(self) -> None:
        found = [
            np.array([one[number].box.height * one[number].box.width / 1e4 for one in many()])
            for number in (0, 1, 2)
        ]
        for areas, (low, high) in zip(found, [(0.3, 0.9)] * 2 + [(0.05, 0.3)], strict=True):
            assert low - 0.02 <= areas.min() <= low + 0.02
            assert high - 0.05 <= areas.max() <= high + 0.02

    def test_are_between_three_to_four_and_four_to_three(self) -> None:
        ratios = np.array(
            [
                one.box.width / one.box.height
                for seed in range(300)
                for one in drawn((2000, 2000), seed, local_scale=(0.1, 0.1))[2:]
            ]
        )
        assert ratios.min() == pytest.approx(3 / 4, abs=0.01)
        assert ratios.max() == pytest.approx(4 / 3, abs=0.01)
        assert often((ratios < 1).tolist(), 0.5)

    def test_come_from_everywhere(self) -> None:
        places = [drawn((10, 11), seed, global_scale=(0.1, 0.1))[0].box for seed in range(200)]
        assert {(box.height, box.width) for box in places} == {(8, 8)}
        assert {(box.top, box.left) for box in places} == {
            (y, x) for y in range(3) for x in range(4)
        }


class TestChances:
    def test_flips_blur_and_solarization(self) -> None:
        views = many()
        for number, blurred, solarized in [(0, 1.0, 0.0), (1, 0.1, 0.2), (2, 0.5, 0.0)]:
            own = [one[number] for one in views]
            assert often([one.flipped for one in own], 0.5)
            if blurred == 1:
                assert all(one.blur for one in own)
            else:
                assert often([one.blur > 0 for one in own], blurred)
            assert all(one.blur == 0 or 0.1 <= one.blur <= 2 for one in own)
            assert often([one.solarized for one in own], solarized) or not solarized
            assert any(one.solarized for one in own) == (solarized > 0)

    def test_colours(self) -> None:
        matrices = [one.colours[0] for pair in many() for one in pair]
        grey = [bool(np.allclose(matrix, matrix[0])) for matrix in matrices]
        untouched = [bool(np.allclose(matrix, np.eye(3))) for matrix in matrices]
        assert often(grey, 0.2)
        assert often(untouched, 0.2 * 0.8)


class Jitter:
    """Brightness, contrast, saturation and turn of a colour map that is not grey."""

    def __init__(self, matrix: Array, offset: float) -> None:
        inner = YIQ @ matrix @ np.linalg.inv(YIQ)
        self.contrast = -2 * offset
        self.brightness = inner[0, 0] / (1 + self.contrast) - 1
        cosine, sine = inner[1:, 1] / inner[0, 0]
        self.saturation = math.hypot(cosine, sine) - 1
        self.turn = math.atan2(sine, cosine)

    def slow(self, pixel: Array) -> Array:
        red, green, blue = (value * (1 + self.brightness) for value in pixel)
        luma = GREY[0] * red + GREY[1] * green + GREY[2] * blue
        i = 0.5959 * red - 0.2746 * green - 0.3213 * blue
        q = 0.2115 * red - 0.5227 * green + 0.3112 * blue
        radius, angle = math.hypot(i, q) * (1 + self.saturation), math.atan2(q, i) + self.turn
        turned = [luma, radius * math.cos(angle), radius * math.sin(angle)]
        return (np.linalg.solve(YIQ, turned) - 0.5) * (1 + self.contrast) + 0.5


class TestColours:
    @pytest.mark.parametrize("strength", [1.0, 0.5])
    def test_are_brightness_hue_and_saturation_then_contrast(
        self, rng: np.random.Generator, strength: float
    ) -> None:
        pixels, seen = rng.random((6, 3)), []
        for one in (one for pair in many(strength)[:200] for one in pair):
            matrix, offset = one.colours
            if np.allclose(matrix, matrix[0]) or np.allclose(matrix, np.eye(3)):
                continue
            jitter = Jitter(matrix, offset)
            expected = [jitter.slow(pixel) for pixel in pixels]
            np.testing.assert_allclose(pixels @ matrix.T + offset, expected, atol=1e-12)
            hue = jitter.turn / (2 * math.pi)
            seen.append([jitter.brightness, jitter.contrast, jitter.saturation, hue])
        limits = strength * np.array([0.4, 0.4, 0.2, 0.1])
        for sign in (-1, 1):
            extremes = (sign * np.array(seen)).max(axis=0)
            assert (extremes <= limits + 1e-9).all()
            assert (extremes > 0.9 * limits).all()
        assert np.abs(np.corrcoef(np.transpose(seen)) - np.eye(4)).max() < 0.3

    def test_grey_views_have_equal_channels(self, noise_image: Pixels) -> None:
        for one in (one for pair in many()[:100] for one in pair):
            matrix, offset = one.colours
            if not np.allclose(matrix, matrix[0]):
                continue
            shown = render([noise_image], [view(whole(noise_image), colours=(matrix, offset))], 16)
            assert torch.allclose(shown[:, :1].expand(-1, 3, -1, -1), shown, atol=1e-6)
            assert shown.std() > 0.01

    def test_grey_without_jitter_is_luma(self) -> None:
        found = [one.colours for pair in many(0.0) for one in pair]
        grey = [matrix for matrix, _ in found if np.allclose(matrix, matrix[0])]
        np.testing.assert_allclose(grey, np.broadcast_to(GREY, (len(grey), 3, 3)), atol=1e-12)
        others = [matrix for matrix, _ in found if not np.allclose(matrix, matrix[0])]
        np.testing.assert_allclose(
            others, np.broadcast_to(np.eye(3), (len(others), 3, 3)), atol=1e-12
        )
        assert {offset for _, offset in found} == {0.0}
        assert often([True] * len(grey) + [False] * len(others), 0.2)


def slow_blurred(row: Array, sigma: float) -> Array:
    """One Gaussian pass over a row, cut at two standard deviations, mirrored at the ends."""
    radius, last = math.ceil(2 * sigma), len(row) - 1
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-radius, radius + 1)]
    out = np.zeros(len(row))
    for at in range(len(row)):
        for step, weight in zip(range(-radius, radius + 1), weights, strict=True):
            place = abs(at + step)
            place = 2 * last - place if place > last else place
            out[at] += row[place] * weight / sum(weights)
    return out


class TestRender:
    @pytest.fixture
    def image(self, rng: np.random.Generator) -> Pixels:
        return rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)

    def test_an_untouched_view_is_the_pixels(self, image: Pixels) -> None:
        shown = render([image], [view(whole(image))], 16)
        assert (shown.shape, shown.dtype) == ((1, 3, 16, 16), torch.float32)
        np.testing.assert_allclose(shown[0].permute(1, 2, 0), image / 255, atol=1e-6)

    def test_a_box_is_what_is_cut_out(self, rng: np.random.Generator) -> None:
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        shown = render([image], [view(Window.sized(3, 11, 8, 8))], 8)
        np.testing.assert_allclose(shown[0].permute(1, 2, 0), image[3:11, 11:19] / 255, atol=1e-6)

    def test_a_flip_mirrors_left_and_right(self, image: Pixels) -> None:
        shown = render([image] * 2, [view(whole(image)), view(whole(image), flipped=True)], 16)
        np.testing.assert_array_equal(shown[1], shown[0].numpy()[:, :, ::-1])
        assert not torch.equal(shown[0], shown[1])

    def test_colours_are_an_affine_map_of_every_pixel(
        self, rng: np.random.Generator, image: Pixels
    ) -> None:
        matrix, offset = rng.normal(size=(3, 3)), 0.1
        shown = render([image], [view(whole(image), colours=(matrix, offset))], 16)[0]
        for y, x in np.ndindex(16, 16):
            expected = [
                sum(matrix[c, k] * (image[y, x, k] / 255) for k in range(3)) + offset
                for c in range(3)
            ]
            np.testing.assert_allclose(shown[:, y, x], np.clip(expected, 0, 1), atol=1e-5)

    def test_each_image_has_its_own_view(self, rng: np.random.Generator) -> None:
        images = list(rng.integers(0, 256, (4, 40, 50, 3), dtype=np.uint8))
        views = [drawn((40, 50), seed)[1] for seed in (0, 1, 2)]
        views.append(replace(views[0], solarized=True, blur=1.0, flipped=True))
        together = render(images, views, 12)
        for number, (image, one) in enumerate(zip(images, views, strict=True)):
            assert torch.allclose(together[number], render([image], [one], 12)[0], atol=1e-6)

    def test_shrinking_averages(self) -> None:
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::4] = 200
        shown = render([stripes], [view(whole(stripes))], 16)
        np.testing.assert_allclose(shown[:, :, :, 1:-1] * 255, 50, atol=4)

    @pytest.mark.parametrize("size", [(1, 90), (90, 1), (8, 8), (200, 33)])
    def test_thin_small_and_large_images_fill_the_view(self, size: tuple[int, int]) -> None:
        image = np.full((*size, 3), 51, np.uint8)
        plain = [replace(one, colours=PLAIN, solarized=False) for one in drawn(size)]
        shown = render([image] * 5, plain, 16)
        assert torch.allclose(shown, torch.full((5, 3, 16, 16), 0.2), atol=1e-5)

    @pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
    def test_blur_is_a_gaussian(self, image: Pixels, sigma: float) -> None:
        shown = render([image], [view(whole(image), blur=sigma)], 16)[0]
        for channel in range(3):
            rows = np.stack([slow_blurred(row, sigma) for row in image[..., channel] / 255])
            expected = np.stack([slow_blurred(column, sigma) for column in rows.T]).T
            np.testing.assert_allclose(shown[channel], expected, atol=1e-5)

    def test_blur_keeps_a_constant_image(self) -> None:
        image = np.full((16, 16, 3), (10, 100, 200), np.uint8)
        shown = render([image], [view(whole(image), blur=2.0)], 16)[0]
        expected = torch.tensor([10, 100, 200])[:, None, None] / 255
        assert torch.allclose(shown, expected.expand(3, 16, 16), atol=1e-6)

    def test_solarization_inverts_above_one_half(self, image: Pixels) -> None:
        shown = render([image], [view(whole(image), solarized=True)], 16)[0].permute(1, 2, 0)
        expected = np.where(image >= 128, 255 - image.astype(int), image) / 255
        np.testing.assert_allclose(shown, expected, atol=1e-6)


class TestDeterminism:
    def rendered(self, seed: int) -> Tensor:
        image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        views = drawn((30, 40, 3), seed)
        return render([image] * 5, views, 16)

    def test_equal_generators_draw_equal_views(self) -> None:
        assert torch.equal(self.rendered(3), self.rendered(3))

    def test_other_generators_draw_others(self) -> None:
        assert not torch.equal(self.rendered(3), self.rendered(4))

    def test_a_generator_moves_on(self) -> None:
        generator = np.random.default_rng(0)
        first, second = (
            sample_augmentations((90, 90), recipe(), generator)[0].box for _ in range(2)
        )
        assert first != second


class TestLocalViews:
    @pytest.mark.parametrize("count", [0, 1, 6])
    def test_come_after_two_global_ones(self, count: int) -> None:
        views = drawn(
            (100, 100), local_views=count, global_scale=(0.5, 0.5), local_scale=(0.04, 0.04)
        )
        assert len(views) == 2 + count
        areas = [one.box.height * one.box.width for one in views]
        assert min(areas[:2]) > 4800
        assert all(300 < area < 500 for area in areas[2:])


def undone(points: NDArray[np.float32], one: Augmentation) -> Array:
    """Pixels (x, y) of the image at points of its view."""
    x, y = points.astype(np.float64).T
    x = -x if one.flipped else x
    return np.stack(
        [
            one.box.left + (x + 1) / 2 * one.box.width,
            one.box.top + (y + 1) / 2 * one.box.height,
        ],
        axis=1,
    )


class TestSharedPoints:
    @settings(deadline=None)
    @given(boxes, boxes, st.booleans(), st.booleans(), st.integers(0, 99))
    def test_are_the_same_place_in_both_boxes(
        self, a: Window, b: Window, flipped: bool, other: bool, seed: int
    ) -> None:
        pair = view(a, flipped=flipped), view(b, flipped=other)
        points = shared_points(*pair, 20, np.random.default_rng(seed))
        assert (points.shape, points.dtype) == ((2, 20, 2), np.float32)
        places = [undone(own, one) for own, one in zip(points, pair, strict=True)]
        np.testing.assert_allclose(places[0], places[1], atol=1e-4)
        if a.meets(b):
            assert np.abs(points).max() <= 1
        else:
            assert (np.abs(points).max(axis=2) >= 1 - 1e-6).all()

    def test_fill_what_both_show(self, rng: np.random.Generator) -> None:
        pair = view(Window.sized(0, 0, 30, 40), flipped=True), view(Window.sized(10, 5, 40, 20))
        places = undone(shared_points(*pair, 3000, rng)[0], pair[0])
        for axis, (low, high) in enumerate([(5, 25), (10, 30)]):
            counts, _ = np.histogram(places[:, axis], 5, (low, high))
            assert counts.sum() == 3000
            assert all(abs(count - 600) < 5 * math.sqrt(600) for count in counts)
        assert abs(np.corrcoef(places.T)[0, 1]) < 0.1

    def test_partners_lie_within_reach_and_inside_their_view(
        self, rng: np.random.Generator
    ) -> None:
        pair = (
            view(Window.sized(100, 200, 400, 100), flipped=True),
            view(Window.sized(0, 0, 900, 1000)),
        )
        places, near = (
            undone(own, one)
            for own, one in zip(shared_points(*pair, 3000, rng, 0.2), pair, strict=True)
        )
        assert (places.min(axis=0) >= (200, 100)).all()
        assert (places.max(axis=0) <= (300, 500)).all()
        # a view of 100×400 is 200 wide on average
        np.testing.assert_allclose((near - places).std(axis=0), 40, rtol=0.06)
        np.testing.assert_allclose((near - places).mean(axis=0), 0, atol=4)
        small = view(Window.sized(100, 200, 50, 50))
        far = shared_points(pair[0], small, 300, rng, 5.0)
        assert np.abs(far).max() <= 1
        assert (np.abs(far[1]) == 1).mean() > 0.5

    def test_move_with_the_generator_alone(self) -> None:
        pair = view(Window.sized(0, 0, 30, 40)), view(Window.sized(10, 5, 40, 20))
        drawings = [shared_points(*pair, 4, np.random.default_rng(seed)) for seed in (0, 0, 1)]
        np.testing.assert_array_equal(drawings[0], drawings[1])
        assert not np.array_equal(drawings[0], drawings[2])

    @pytest.mark.parametrize("size", [(240, 240), (150, 256)])
    def test_show_the_same_colour_in_both_pictures(self, size: tuple[int, int]) -> None:
        height, width = size
        image = np.zeros((*size, 3), np.uint8)
        image[..., 0] = np.rint((np.arange(width) + 0.5) / width * 255)
        image[..., 1] = np.rint((np.arange(height)[:, None] + 0.5) / height * 255)
        compared, view_size = 0, 24
        generator = np.random.default_rng(0)
        for _ in range(30):
            pair = [
                replace(one, colours=PLAIN, blur=0.0, solarized=False)
                for one in sample_augmentations(size, recipe(local_views=0), generator)
            ]
            points = shared_points(pair[0], pair[1], 50, generator)
            shown = render([image] * 2, pair, view_size)
            found = functional.grid_sample(
                shown, torch.from_numpy(points)[:, None], align_corners=False
            )[:, :2, 0].numpy()
            # the outermost pixels of a view are averages over half of their neighbourhood
            clear = (np.abs(points) < 1 - 3 / view_size).all(axis=(0, 2))
            np.testing.assert_allclose(found[0][:, clear], found[1][:, clear], atol=6e-3)
            places = undone(points[0], pair[0])[clear] / (width, height)
            np.testing.assert_allclose(found[0][:, clear].T, places, atol=6e-3)
            compared += int(clear.sum())
        assert compared > 300
