"""Drift against slow, obvious versions, and on samples whose verdict is known."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.errors import CapacityError
from stego_core.scores import drift
from stego_core.scores.drift import (
    AXES_SHARE,
    FEATURES_THRESHOLD,
    FEWEST_IMAGES,
    SHARES_THRESHOLD,
    Moments,
    feature_drift,
    shares_drift,
    verdict,
)

Vectors = NDArray[np.float32]
CHANNELS = 24


def moments(vectors: NDArray[np.floating], cuts: Sequence[int] = ()) -> Moments:
    """Moments of vectors, added in blocks cut at some rows."""
    result = Moments.create(vectors.shape[1])
    for block in np.split(vectors.astype(np.float32), sorted(cuts)):
        result = result + Moments.of(block)
    return result


def sample(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> Vectors:
    """Correlated vectors whose variance falls along rotated axes, as features' does."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(CHANNELS, CHANNELS)))[0]
    deviations = 0.8 ** np.arange(CHANNELS)
    drawn = np.random.default_rng([seed, count]).normal(size=(count, CHANNELS))
    return np.asarray(5 + ((scale * drawn + shift) * deviations) @ rotation.T, np.float32)


def slow_feature_drift(training: Vectors, dump: Vectors) -> float:
    """One axis after the other, from the vectors themselves."""
    wide, own = training.astype(np.float64), dump.astype(np.float64)
    _, singular, axes = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
    power, held, distances = singular**2, 0.0, []
    for axis, part in zip(axes, power / power.sum(), strict=True):
        if held >= AXES_SHARE:
            break
        held += part
        along, ours = wide @ axis, own @ axis
        deviation = along.std(ddof=1)
        squared = (ours.mean() - along.mean()) ** 2
        if len(own) > 1:
            squared += (ours.std(ddof=1) - deviation) ** 2
        distances.append(squared / deviation**2)
    bias = 1 / len(own) + 1 / len(wide)
    if len(own) > 1:
        bias += 1 / (2 * (len(own) - 1)) + 1 / (2 * (len(wide) - 1))
    return float(np.mean(distances) - bias)


def slow_shares_drift(training: Sequence[int], dump: Sequence[int]) -> float:
    """Half the Kullback-Leibler divergences from the middle, class by class."""
    total = 0.0
    for one, other in ((training, dump), (dump, training)):
        for a, b in zip(one, other, strict=True):
            p, q = a / sum(one), b / sum(other)
            if p > 0:
                total += 0.5 * p * np.log2(p / ((p + q) / 2))
    return total


class TestMoments:
    def test_against_numpy(self) -> None:
        vectors = sample(1, 40)
        found = moments(vectors, [7, 7, 30])
        mean, covariance = found.result()
        assert found.count == 40
        np.testing.assert_allclose(mean, vectors.astype(np.float64).mean(axis=0))
        np.testing.assert_allclose(covariance, np.cov(vectors.astype(np.float64), rowvar=False))

    @given(st.lists(st.integers(0, 20), max_size=5), st.integers(0, 20))
    @settings(max_examples=50, deadline=None)
    def test_partitions_do_not_matter(self, cuts: list[int], cut: int) -> None:
        vectors = sample(2, 20)
        whole = moments(vectors)
        left, right = moments(vectors[:cut], [c for c in cuts if c < cut]), moments(vectors[cut:])
        for found in (moments(vectors, cuts), left + right, right + left):
            assert found.count == whole.count
            np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
            np.testing.assert_allclose(found.scatter, whole.scatter, atol=1e-10)

    def test_merging_is_associative(self) -> None:
        a, b, c = (moments(sample(seed, count)) for seed, count in ((1, 1), (2, 9), (3, 4)))
        one, other = a + b + c, a + (b + c)
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
        np.testing.assert_allclose(one.scatter, other.scatter, atol=1e-10)

    def test_far_from_the_origin(self) -> None:
        vectors = np.random.default_rng(0).normal(1e4, 1e-1, (100, 3)).astype(np.float32)
        _, covariance = moments(vectors, range(0, 100, 9)).result()
        expected = np.cov(vectors.astype(np.float64), rowvar=False)
        np.testing.assert_allclose(covariance, expected, rtol=1e-6)

    def test_nothing(self) -> None:
        nothing = Moments.of(np.zeros((0, 3), np.float32))
        assert (nothing + Moments.create(3)).count == 0
        assert not nothing.result()[1].any()

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (np.zeros((2, 4), np.float32), "moments of 3 and of 4 channels"),
            (np.full((2, 3), np.nan, np.float32), "2 of 2 vectors are not finite"),
        ],
    )
    def test_refuses(self, vectors: Vectors, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Moments.create(3) + Moments.of(vectors)


class TestFeatureDrift:
    @pytest.mark.parametrize(("many", "n"), [(200, 60), (30, 8), (12, 200), (50, 1), (2, 3)])
    @pytest.mark.parametrize("shift", [0.0, 2.5])
    def test_against_the_slow_version(self, many: int, n: int, shift: float) -> None:
        training, own = sample(1, many), sample(2, n, shift, 1.5)
        found = feature_drift(moments(training), moments(own))
        np.testing.assert_allclose(found, slow_feature_drift(training, own), rtol=1e-9)

    @pytest.mark.parametrize("n", [1, 2, 5, 10, 30, 300])
    def test_same_distribution_is_zero_on_average(self, n: int) -> None:
        training = moments(sample(0, 2000))
        found = [feature_drift(training, moments(sample(seed, n))) for seed in range(1, 41)]
        assert abs(np.mean(found)) < 0.15 / np.sqrt(n)
        if n >= FEWEST_IMAGES:
            assert max(found) < FEATURES_THRESHOLD / 2

    def test_few_training_images(self) -> None:
        found = [
            feature_drift(moments(sample(seed, 30)), moments(sample(seed + 99, 30)))
            for seed in range(40)
        ]
        assert max(found) < FEATURES_THRESHOLD / 2

    @pytest.mark.parametrize(("shift", "scale"), [(2.0, 1.0), (0.0, 3.0), (-1.3, 2.0)])
    @pytest.mark.parametrize("n", [FEWEST_IMAGES, 30])
    def test_other_images_are_above(self, n: int, shift: float, scale: float) -> None:
        training = moments(sample(0, 300))
        for seed in range(1, 11):
            found = feature_drift(training, moments(sample(seed, n, shift, scale)))
            assert found > FEATURES_THRESHOLD

    def test_equal_images_are_one_away(self) -> None:
        training = sample(0, 5000)
        own = np.repeat(training.mean(axis=0)[None], 400, axis=0)
        np.testing.assert_allclose(feature_drift(moments(training), moments(own)), 1, atol=0.01)

    def test_no_unit_and_no_direction(self) -> None:
        training, own = sample(1, 80), sample(2, 30, 1.0)
        expected = feature_drift(moments(training), moments(own))
        rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(CHANNELS, CHANNELS)))[0]

        def changed(vectors: Vectors) -> Moments:
            return moments(1000 * vectors @ rotation + 3)

        np.testing.assert_allclose(
            feature_drift(changed(training), changed(own)), expected, rtol=1e-3
        )

    def test_a_constant_channel_changes_nothing(self) -> None:
        training, own = sample(1, 80), sample(2, 30, 1.0)
        expected = feature_drift(moments(training), moments(own))
        padded = [
            moments(np.pad(v, ((0, 0), (0, 1)), constant_values=2.0)) for v in (training, own)
        ]
        np.testing.assert_allclose(feature_drift(*padded), expected, rtol=1e-9)

    @pytest.mark.parametrize(
        ("training", "own"),
        [
            (sample(1, 10), sample(1, 0)),
            (sample(1, 0), sample(1, 10)),
            (sample(1, 1), sample(1, 10)),
            (np.repeat(sample(1, 1), 10, axis=0), sample(1, 10)),
        ],
    )
    def test_too_few(self, training: Vectors, own: Vectors) -> None:
        with pytest.raises(CapacityError, match=f"drift of {len(own)} vectors"):
            feature_drift(moments(training), moments(own))

    def test_other_channels(self) -> None:
        with pytest.raises(ValueError, match="3 channels of the dump, 24 in training"):
            feature_drift(moments(sample(1, 10)), Moments.create(3))


class TestSharesDrift:
    @given(*[st.lists(st.integers(0, 10**9), min_size=4, max_size=4).filter(any)] * 2)
    @settings(max_examples=100, deadline=None)
    def test_against_the_slow_version(self, training: list[int], own: list[int]) -> None:
        found = shares_drift(np.array(training), np.array(own))
        assert 0 <= found <= 1
        np.testing.assert_allclose(found, slow_shares_drift(training, own), atol=1e-9)
        np.testing.assert_allclose(found, shares_drift(np.array(own), np.array(training)))

    def test_by_hand(self) -> None:
        assert shares_drift(np.array([4, 4]), np.array([1, 1])) == 0
        assert shares_drift(np.array([5, 0]), np.array([0, 9])) == 1
        # the middle is (3/4, 1/4): 0.8113 bits, less half of the one bit of (1/2, 1/2)
        half = shares_drift(np.array([8, 0]), np.array([2, 2]))
        np.testing.assert_allclose(half, 0.8112781 - 0.5, atol=1e-6)

    def test_same_corpus_and_another(self) -> None:
        random = np.random.default_rng(0)
        images = random.dirichlet([2, 2, 1, 1, 0.5], 400) * 1e5
        pixels = images.astype(np.int64)
        for _ in range(20):
            dump = random.choice(pixels, FEWEST_IMAGES, replace=False).sum(axis=0)
            assert shares_drift(pixels.sum(axis=0), dump) < SHARES_THRESHOLD
            assert shares_drift(pixels.sum(axis=0), dump[::-1]) > SHARES_THRESHOLD

    @pytest.mark.parametrize(
        ("training", "own", "error"),
        [
            ([1, 2], [1, 2, 3], ValueError),
            ([1, 2], [3, -1], ValueError),
            ([1, 2], [0, 0], CapacityError),
            ([0, 0], [1, 2], CapacityError),
            ([], [], CapacityError),
        ],
    )
    def test_refuses(self, training: list[int], own: list[int], error: type[Exception]) -> None:
        with pytest.raises(error):
            shares_drift(np.array(training, np.int64), np.array(own, np.int64))


class TestVerdict:
    @pytest.mark.parametrize(
        ("features", "shares", "images", "judged", "drifted"),
        [
            (0.1, 0.01, 30, True, False),
            (FEATURES_THRESHOLD, SHARES_THRESHOLD, 30, True, False),
            (FEATURES_THRESHOLD + 0.01, 0.01, 30, True, True),
            (0.1, SHARES_THRESHOLD + 0.01, 30, True, True),
            (None, 0.5, 30, True, True),
            (9.0, None, 30, True, True),
            (None, None, 30, False, False),
            (9.0, 0.9, FEWEST_IMAGES - 1, False, False),
            (9.0, 0.9, FEWEST_IMAGES, True, True),
        ],
    )
    def test_table(
        self,
        features: float | None,
        shares: float | None,
        images: int,
        judged: bool,
        drifted: bool,
    ) -> None:
        document = verdict(features, shares, images)
        assert (document["judged"], document["drifted"]) == (judged, drifted)

    def test_document(self) -> None:
        document = verdict(0.123456, None, 12)
        assert document["features"] == 0.1235
        assert document["shares"] is None
        assert document["thresholds"] == drift.thresholds()
