"""Quality without labels: agreement, effective rank, and features whose order is known."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stego_core.pretrain.quality import agreement, effective_rank, quality
from stego_core.pretrain.views import Pixels, ViewRecipe

VIEWS = ViewRecipe(
    global_size=32,
    local_size=16,
    local_views=2,
    window=(1.0, 1.0),
    global_scale=(0.3, 0.9),
    local_scale=(0.1, 0.3),
    colour=0.0,
)
labellings = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2)
)


def slow_agreement(first: list[int], second: list[int]) -> float:
    """2 I(X; Y) / (H(X) + H(Y)) from counted shares."""

    def shares(labels: list[object]) -> dict[object, float]:
        return {label: count / len(labels) for label, count in Counter(labels).items()}

    one, two, both = shares([*first]), shares([*second]), shares([*zip(first, second, strict=True)])
    told = sum(p * math.log(p / (one[x] * two[y])) for (x, y), p in both.items())  # type: ignore[misc]
    room = -sum(p * math.log(p) for own in (one, two) for p in own.values())
    return 2 * told / room if len(one) > 1 or len(two) > 1 else 0.0


class TestAgreement:
    @given(labellings)
    def test_equals_the_slow_formula(self, pair: tuple[list[int], list[int]]) -> None:
        found = agreement(np.array(pair[0]), np.array(pair[1]), 4)
        assert found == pytest.approx(slow_agreement(*pair), abs=1e-9)

    @given(labellings)
    def test_is_symmetric_and_between_zero_and_one(self, pair: tuple[list[int], list[int]]) -> None:
        first, second = np.array(pair[0]), np.array(pair[1])
        found = agreement(first, second, 4)
        assert found == pytest.approx(agreement(second, first, 4), abs=1e-9)
        assert -1e-9 <= found <= 1 + 1e-9

    def test_is_one_for_equal_labellings_by_any_names(self, rng: np.random.Generator) -> None:
        labels = rng.integers(0, 6, 200)
        assert agreement(labels, labels, 6) == pytest.approx(1)
        assert agreement(labels, rng.permutation(9)[labels], 9) == pytest.approx(1)

    def test_is_about_zero_for_independent_ones(self, rng: np.random.Generator) -> None:
        assert agreement(*rng.integers(0, 6, (2, 20_000)), 6) < 0.01

    def test_falls_with_every_mistake(self, rng: np.random.Generator) -> None:
        labels, others = rng.integers(0, 6, (2, 2000))
        wrong = rng.random(2000)
        found = [
            agreement(labels, np.where(wrong < share, others, labels), 6)
            for share in (0, 0.1, 0.3, 0.6, 1)
        ]
        assert found == sorted(found, reverse=True)

    @pytest.mark.parametrize("count", [1, 6, 10, 49, 64, 1472, 1536])
    def test_is_zero_for_constant_ones(self, count: int) -> None:
        flat, varied = np.full(count, 3), np.arange(count) % 4
        assert agreement(flat, flat, 4) == pytest.approx(0, abs=1e-9)
        assert agreement(flat, varied, 4) == pytest.approx(0, abs=1e-9)


def slow_rank(features: NDArray[np.float64]) -> float:
    """From the eigenvalues of the Gram matrix: squares of the singular values."""
    values = np.sqrt(np.clip(np.linalg.eigvalsh(features.T @ features), 0, None))
    shares = [float(v / values.sum()) for v in values if v > 1e-9 * values.max()]
    return math.exp(-sum(share * math.log(share) for share in shares))


class TestEffectiveRank:
    def test_equals_the_slow_formula(self, rng: np.random.Generator) -> None:
        features = rng.normal(size=(40, 5)) * [1, 2, 3, 0.5, 0.1]
        assert effective_rank(features.astype(np.float32)) == pytest.approx(
            slow_rank(features), rel=1e-5
        )

    def test_is_one_for_rank_one(self, rng: np.random.Generator) -> None:
        features = np.outer(rng.normal(size=30), rng.normal(size=6)).astype(np.float32)
        assert effective_rank(features) == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize("channels", [1, 2, 7])
    def test_is_the_depth_for_orthonormal_columns(
        self, rng: np.random.Generator, channels: int
    ) -> None:
        columns, _ = np.linalg.qr(rng.normal(size=(30, channels)))
        assert effective_rank(columns.astype(np.float32)) == pytest.approx(channels, rel=1e-5)

    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_ignores_scale(self, rng: np.random.Generator, scale: float) -> None:
        features = rng.normal(size=(30, 4)).astype(np.float32)
        scaled = effective_rank((scale * features).astype(np.float32))
        assert scaled == pytest.approx(effective_rank(features), rel=1e-5)

    def test_of_nothing_is_one(self) -> None:
        assert effective_rank(np.zeros((5, 3), np.float32)) == 1


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    """Each a 3×3 board of fields in five colours."""
    rng = np.random.default_rng(0)
    colours = np.array([[230, 20, 20], [20, 220, 30], [20, 40, 230], [230, 220, 20], [90, 90, 90]])
    boards = colours[rng.integers(0, 5, (24, 3, 3))]
    return list(boards.repeat(20, axis=1).repeat(24, axis=2).astype(np.uint8))


def content(views: Tensor) -> Tensor:
    """Hue of every patch of four pixels: brightness is divided out."""
    mean = functional.avg_pool2d(views, 4)
    return functional.normalize(mean, dim=1)


def position(views: Tensor) -> Tensor:
    """Where a patch lies in its view, and nothing else."""
    axis = torch.linspace(-1, 1, 8)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij")).expand(len(views), 2, 8, 8)


def noise(views: Tensor) -> Tensor:
    seed = int(views.double().sum().item() * 1e6) % 2**31
    return torch.randn((len(views), 6, 8, 8), generator=torch.Generator().manual_seed(seed))


def collapsed(level: float) -> Callable[[Tensor], Tensor]:
    return lambda views: torch.full((len(views), 6, 8, 8), level)


class TestQuality:
    def test_content_beats_position_and_noise(self, pictures: list[Pixels]) -> None:
        found = {
            name: quality(tokens, pictures, VIEWS).agreement
            for name, tokens in [("content", content), ("position", position), ("noise", noise)]
        }
        # a view in three is grey or solarized, so even true content agrees in part only
        assert found["content"] > 0.35
        assert found["position"] < 0.5 * found["content"]
        assert found["noise"] < 0.1

    @pytest.mark.parametrize("level", [0.0, 1.0])
    @pytest.mark.parametrize("count", [6, 23, 24])
    def test_of_collapsed_features_is_the_least(
        self, pictures: list[Pixels], count: int, level: float
    ) -> None:
        found = quality(collapsed(level), pictures[:count], VIEWS)
        assert found.agreement == pytest.approx(0, abs=0.02)  # sampling rounds: not all are equal
        assert found.rank == pytest.approx(1, abs=1e-4)

    def test_rank_is_that_of_the_features(self, pictures: list[Pixels]) -> None:
        assert quality(noise, pictures, VIEWS).rank == pytest.approx(6, abs=0.2)
        assert quality(lambda v: content(v)[:, :1], pictures, VIEWS).rank == pytest.approx(1)

    def test_is_deterministic_and_seeded(self, pictures: list[Pixels]) -> None:
        np.random.seed(0)
        first = quality(content, pictures, VIEWS, seed=1)
        np.random.seed(1)
        assert quality(content, pictures, VIEWS, seed=1) == first
        assert quality(content, pictures, VIEWS, seed=2) != first

    def test_local_views_are_left_out(self, pictures: list[Pixels]) -> None:
        asked: list[tuple[int, ...]] = []

        def counting(tokens: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def counted(views: Tensor) -> Tensor:
                asked.append(tuple(views.shape))
                return tokens(views)

            return counted

        quality(counting(content), pictures, VIEWS)
        assert asked == [(len(pictures), 3, 32, 32)] * 2

    def test_images_whose_views_never_meet_are_left_out(self, pictures: list[Pixels]) -> None:
        asked: list[int] = []

        def tokens(views: Tensor) -> Tensor:
            asked.append(len(views))
            return content(views)

        apart = ViewRecipe(32, 16, 0, (1.0, 1.0), (0.05, 0.1), (0.05, 0.1), colour=0.0)
        found = quality(tokens, pictures, apart)
        assert 0 < asked[0] == asked[1] < len(pictures)
        assert found.agreement > 0.4
