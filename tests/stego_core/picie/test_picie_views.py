"""PiCIE's views: what is sampled, and one geometric transform on image and feature map."""

import numpy as np
import pytest
import torch

from stego_core.picie import picie_views
from stego_core.picie.picie_views import Geometric, Photometric, Views, sample_views

CELLS = 8
CROPS = [
    Geometric(False, 0, 0, 8, CELLS),
    Geometric(True, 0, 0, 8, CELLS),
    Geometric(False, 2, 1, 4, CELLS),
    Geometric(True, 3, 0, 5, CELLS),
    Geometric(True, 1, 2, 6, CELLS),
]


def slow_transform(maps: np.ndarray, g: Geometric, size: int) -> np.ndarray:
    """Bilinear samples at the centres of the new cells, one after another, in float64."""
    side = maps.shape[-1]
    unit = side / g.cells
    out = np.zeros((len(maps), size, size))
    for row in range(size):
        for column in range(size):
            place = []
            for index, first in ((row, g.top), (column, g.left)):
                within = (index + 0.5) * g.side * unit / size - 0.5
                within = min(max(within, 0), g.side * unit - 1)  # a crop ends at its border
                place.append(first * unit + within)
            y, x = place
            if g.flipped:
                x = side - 1 - x
            top, left = min(int(y), side - 2), min(int(x), side - 2)
            down, across = y - top, x - left
            for (dy, dx), weight in {
                (0, 0): (1 - down) * (1 - across),
                (0, 1): (1 - down) * across,
                (1, 0): down * (1 - across),
                (1, 1): down * across,
            }.items():
                out[:, row, column] += weight * maps[:, top + dy, left + dx]
    return out


@pytest.mark.parametrize("geometric", CROPS)
class TestGeometric:
    def test_a_feature_map_against_samples_in_float64(self, geometric: Geometric) -> None:
        maps = np.random.default_rng(0).standard_normal((3, CELLS, CELLS))
        found = geometric(torch.from_numpy(maps), CELLS)
        expected = slow_transform(maps, geometric, CELLS)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)

    def test_it_cuts_image_and_feature_map_along_the_same_lines(self, geometric: Geometric) -> None:
        """Of a network that takes means of cells, g on the image equals g on the features.

        The image is linear in each of a crop's directions, so resampling it is exact, but for
        cells at the border, which bilinear resampling repeats.
        """
        pixels = CELLS * 8
        ramps = np.mgrid[:pixels, :pixels].astype(np.float64)
        image = torch.from_numpy(np.stack([*ramps, ramps.sum(axis=0)]))

        def network(picture: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(picture, picture.shape[-1] // CELLS)

        on_image = network(geometric(image, CELLS * 4))
        on_features = geometric(network(image), CELLS)
        inner = slice(1, -1)
        torch.testing.assert_close(
            on_image[:, inner, inner], on_features[:, inner, inner], atol=0.05, rtol=0
        )
        assert (on_features - network(image)).abs().max() > 1 or geometric == CROPS[0]


def test_a_flip_alone_is_exact() -> None:
    maps = torch.arange(16.0).reshape(1, 4, 4)
    assert torch.equal(Geometric(True, 0, 0, 4, 4)(maps, 4), maps.flip(-1))


def test_each_image_of_a_batch_has_its_own_transform() -> None:
    maps = torch.randn(len(CROPS), 2, CELLS, CELLS, generator=torch.Generator().manual_seed(0))
    found = picie_views.transformed(maps, CROPS)
    for number, geometric in enumerate(CROPS):
        assert torch.equal(found[number], geometric(maps[number], CELLS))


class TestSampling:
    def sampled(self) -> list[Views]:
        generator = np.random.default_rng(0)
        return [sample_views(80, generator) for _ in range(2000)]

    def test_spans_and_probabilities_are_the_published_ones(self) -> None:
        views = self.sampled()
        colourings = [each for view in views for each in (view.first, view.second)]
        for name in ("brightness", "contrast", "saturation"):
            values = np.array([getattr(each, name) for each in colourings])
            assert 0.7 <= values.min() < 0.72
            assert 1.28 < values.max() <= 1.3
            assert np.mean(values != 1) == pytest.approx(0.8, abs=0.03)
        hues = np.array([each.hue for each in colourings])
        assert np.abs(hues).max() == pytest.approx(0.1, abs=0.01)
        assert np.mean(hues != 0) == pytest.approx(0.8, abs=0.03)
        assert np.mean([each.grey for each in colourings]) == pytest.approx(0.2, abs=0.03)
        blurs = np.array([each.blur for each in colourings])
        assert np.mean(blurs > 0) == pytest.approx(0.5, abs=0.03)
        assert blurs[blurs > 0].min() >= 0.1
        assert 1.9 < blurs.max() <= 2
        crops = [view.geometric for view in views]
        assert np.mean([each.flipped for each in crops]) == pytest.approx(0.5, abs=0.03)
        assert {each.side for each in crops} == set(range(40, 81))
        assert all(0 <= e.top <= 80 - e.side and 0 <= e.left <= 80 - e.side for e in crops)

    def test_two_colourings_differ(self) -> None:
        assert all(view.first != view.second for view in self.sampled()[:50])


class TestColours:
    IMAGE = torch.tensor([[[200]], [[100]], [[50]]], dtype=torch.uint8)

    @pytest.mark.parametrize(
        ("colours", "expected"),
        [
            (Photometric(), [200, 100, 50]),
            (Photometric(brightness=0.5), [100, 50, 25]),
            (Photometric(hue=0.5), [50, 150, 200]),  # the opposite colour
            (Photometric(grey=True), [124] * 3),  # 0.299, 0.587, 0.114
        ],
    )
    def test_one_pixel(self, colours: Photometric, expected: list[int]) -> None:
        found = colours(self.IMAGE).flatten().int()
        assert torch.abs(found - torch.tensor(expected)).max() <= 1

    def test_saturation_and_contrast_move_towards_grey(self) -> None:
        pale = Photometric(saturation=0.7)(self.IMAGE).flatten().int()
        assert torch.abs(pale - torch.tensor([177, 107, 72])).max() <= 1  # 0.7 x + 0.3 · 124
        even = torch.tensor([0, 200], dtype=torch.uint8).expand(3, 1, 2)
        weak = Photometric(contrast=0.7)(even)[0, 0].int()
        assert torch.abs(weak - torch.tensor([30, 170])).max() <= 1

    def test_blur_spreads_a_dot_and_keeps_its_light(self) -> None:
        image = torch.zeros(3, 21, 21, dtype=torch.uint8)
        image[:, 10, 10] = 255
        blurred = Photometric(blur=1.0)(image).float()
        assert 30 < blurred[0, 10, 10] < 60
        assert blurred[0].sum().item() == pytest.approx(255, abs=15)


class TestRendering:
    def test_first_view_is_cut_and_second_is_whole(self) -> None:
        image = np.zeros((64, 64, 3), np.uint8)
        image[:, 32:] = 255  # the right half is white
        views = Views(Photometric(), Photometric(), Geometric(True, 0, 4, 4, CELLS))
        first = picie_views.render_first(image, views, 32)
        second = picie_views.render_second(image, views, 32)
        assert first.shape == second.shape == (3, 32, 32)
        assert first.max() == 0  # flipped, its right half is black
        assert second[:, :, :15].max() == 0
        assert second[:, :, 17:].min() == 1
        assert torch.equal(picie_views.render_plain(image, 32), second)

    def test_each_view_has_its_colours(self) -> None:
        image = np.full((16, 16, 3), 100, np.uint8)
        whole = Geometric(False, 0, 0, 2, 2)
        views = Views(Photometric(brightness=0.8), Photometric(brightness=1.2), whole)
        assert picie_views.render_first(image, views, 8).mean().item() == pytest.approx(80 / 255)
        assert picie_views.render_second(image, views, 8).mean().item() == pytest.approx(120 / 255)
