"""The silhouette of features under clusters, and the choice among minima."""

import numpy as np
import pytest

from stego_core.clustering.kmeans import unit
from stego_core.clustering.silhouette import (
    CHANCE,
    FEATURES,
    IMAGE_BOUND,
    MARGIN,
    NEAR,
    SMALLEST,
    Minimum,
    chosen,
    image_bound,
    silhouette,
)


def slow_silhouette(features: np.ndarray, clusters: np.ndarray, count: int) -> float:
    """The definition, feature by feature."""
    means = {}
    for number in range(count):
        members = features[clusters == number]
        if len(members):
            total = members.sum(axis=0)
            means[number] = total / np.linalg.norm(total)
    values = []
    for feature, cluster in zip(features, clusters, strict=True):
        own = 1 - feature @ means[cluster]
        nearest = min(1 - feature @ mean for number, mean in means.items() if number != cluster)
        values.append((nearest - own) / max(nearest, own))
    return float(np.mean(values))


@pytest.mark.parametrize("clusters", [2, 5])
def test_equals_the_definition(clusters: int) -> None:
    generator = np.random.default_rng(clusters)
    features = unit(generator.normal(size=(60, 7))).astype(np.float32)
    ids = generator.integers(clusters, size=60)
    expected = slow_silhouette(features, ids, clusters)
    assert silhouette(features, ids, clusters) == pytest.approx(expected, abs=1e-5)
    with_empty_one = silhouette(features, ids, clusters + 1)
    assert with_empty_one == pytest.approx(expected, abs=1e-5)


def test_separated_groups_come_near_one_and_a_split_group_does_not() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(3, dtype=np.float32).repeat(50, axis=0)
    features = unit(centres + 0.02 * generator.normal(size=centres.shape)).astype(np.float32)
    groups = np.arange(3).repeat(50)
    assert silhouette(features, groups, 3) > 0.99
    split = np.where(groups == 2, 1, groups)  # two groups in one cluster,
    split[:25] = 2  # and one of them in two
    assert silhouette(features, split, 3) < 0.5


def test_one_cluster_separates_nothing() -> None:
    features = unit(np.ones((4, 3))).astype(np.float32)
    assert silhouette(features, np.zeros(4, np.int64), 3) == 0


def test_equal_features_stay_within_its_range() -> None:
    features = unit(np.random.default_rng(0).normal(size=(32, 192))).astype(np.float32)
    features = features.repeat(50, axis=0)  # their cosines with their means exceed 1 by rounding
    copies = np.arange(len(features))
    two_clusters_each = copies // 50 + 32 * (copies % 50 < 13)
    assert abs(silhouette(features, two_clusters_each, 64)) <= 1


def test_of_the_near_minima_of_all_spaces_the_best_separated_is_kept() -> None:
    minima = [
        Minimum("codes", 0.100, 0.30),
        Minimum("codes", 0.100 * (1 + NEAR / 2), 0.35),  # near
        Minimum("codes", 0.110, 0.90),  # not near
        Minimum("objects", 0.400, 0.34),
        Minimum("objects", 0.400 * (1 + 2 * NEAR), 0.95),  # not near
    ]
    assert chosen(minima) == 1
    assert chosen(minima[3:]) == 0


def test_the_first_of_equals_is_kept() -> None:
    assert chosen([Minimum("codes", 0.2, 0.1), Minimum("codes", 0.2, 0.1)]) == 0
    assert chosen([Minimum("codes", 0.2, 0.1), Minimum("codes", 0.2, 0.1 + 1e-6)]) == 0


class TestClustersOfTheFeaturesThemselves:
    CODES = Minimum("codes", 0.2, 0.30, image_bound=0.1)

    @pytest.mark.parametrize(
        ("own", "kept"),
        [
            (Minimum(FEATURES, 0.5, 0.30 * MARGIN + 0.001), 1),
            (Minimum(FEATURES, 0.5, 0.30 * MARGIN - 0.001), 0),
            (Minimum(FEATURES, 0.5, 0.90, SMALLEST), 1),
            (Minimum(FEATURES, 0.5, 0.90, 0.9 * SMALLEST), 0),
            (Minimum(FEATURES, 0.5, 0.90, image_bound=0.1 * IMAGE_BOUND), 1),
            (Minimum(FEATURES, 0.5, 0.90, image_bound=0.1 * IMAGE_BOUND + 1.1 * CHANCE), 0),
        ],
    )
    def test_need_a_margin_and_are_of_things(self, own: Minimum, kept: int) -> None:
        assert chosen([self.CODES, own]) == kept

    def test_are_those_that_k_means_on_the_features_would_keep(self) -> None:
        better = Minimum(FEATURES, 0.5 * (1 + NEAR / 2), 0.9)
        assert chosen([self.CODES, better, Minimum(FEATURES, 0.5, 0.8)]) == 2
        assert chosen([self.CODES, better, Minimum(FEATURES, 0.5, 0.3)]) == 0


class TestImageBound:
    def test_equals_the_probabilities_of_pairs(self) -> None:
        generator = np.random.default_rng(0)
        images = np.repeat([0, 1, 2, 3, 4], [7, 2, 1, 9, 5])
        clusters = (generator.integers(3, size=24) + images // 2) % 3
        shared = []
        for image in range(5):
            own = clusters[images == image]
            pairs = [a == b for i, a in enumerate(own) for b in own[i + 1 :]]
            shared += [np.mean(pairs)] if pairs else []
        any_two = sum(np.mean(clusters == k) ** 2 for k in range(3))
        expected = (np.mean(shared) - any_two) / (1 - any_two)
        assert image_bound(clusters, images * 10, 3) == pytest.approx(expected)
        order = generator.permutation(24)
        assert image_bound(clusters[order], images[order], 4) == pytest.approx(expected)

    def test_goes_from_none_to_one_cluster_for_each_image(self) -> None:
        images = np.arange(4).repeat(3000)
        assert image_bound(images, images, 4) == pytest.approx(1)
        mixed = np.random.default_rng(0).integers(4, size=12_000)
        assert abs(image_bound(mixed, images, 4)) < 0.01

    def test_where_it_says_nothing_it_is_0(self) -> None:
        assert image_bound(np.zeros(6, np.int64), np.arange(6) // 2, 3) == 0
        assert image_bound(np.arange(4) % 2, np.arange(4), 2) == 0


def test_a_minimum_is_judged_by_tokens() -> None:
    features = unit(np.random.default_rng(0).normal(size=(8, 3))).astype(np.float32)
    clusters, images = np.array([0, 0, 0, 1, 1, 1, 1, 2]), np.arange(8) // 4
    minimum = Minimum.of("codes", 0.5, clusters, 3, features, images)
    assert minimum.smallest == pytest.approx(3 / 8)
    assert minimum.silhouette == silhouette(features, clusters, 3)
    assert minimum.image_bound == image_bound(clusters, images, 3) > 0
    assert Minimum.of("codes", 0.5, np.zeros(8, np.int64), 2, features, images).smallest == 0
