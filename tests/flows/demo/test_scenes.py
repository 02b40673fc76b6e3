"""The demo corpus: reproducible, complete in its classes, and not solved by colour."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.demo.scenes import scene, scene_generator
from flows.demo.street import SCENE_CLASSES
from stego_core.labels.void import VOID_BYTE

CLASSES = len(SCENE_CLASSES)
Corpus = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return [scene(scene_generator(0, index)) for index in range(40)]


def pixels(corpus: Corpus, step: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Every `step`-th labelled pixel of the corpus: colours (n, 3) and labels (n,)."""
    colours = np.concatenate([image.reshape(-1, 3)[::step] for image, _ in corpus])
    labels = np.concatenate([truth.reshape(-1)[::step] for _, truth in corpus])
    return colours[labels != VOID_BYTE].astype(np.float64), labels[labels != VOID_BYTE].astype(
        np.int64
    )


def nearest(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (n, k)."""
    return np.stack([((points - centroid) ** 2).sum(1) for centroid in centroids], 1)


def lloyd(points: NDArray[np.float64], seed: int) -> tuple[float, NDArray[np.int64]]:
    """Inertia and assignment (n,) of plain k-means from random points."""
    centroids = points[np.random.default_rng(seed).choice(len(points), CLASSES, replace=False)]
    for _ in range(40):
        assigned = nearest(points, centroids).argmin(1)
        kept = [points[assigned == k].mean(0) for k in range(CLASSES) if (assigned == k).any()]
        centroids = np.stack(kept)
    square = nearest(points, centroids)
    return float(square.min(1).sum()), square.argmin(1)


def matched_miou(assigned: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """MIoU in 0..1 under the matching of clusters to classes that hits most pixels."""
    table = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(table, (assigned, labels), 1)
    hits, union = max(
        (
            (table[list(match), range(CLASSES)], table.sum(0) + table.sum(1)[list(match)])
            for match in permutations(range(CLASSES))
        ),
        key=lambda pair: int(pair[0].sum()),
    )
    return float((hits / (union - hits)).mean())


class TestReproducibility:
    def test_same_generator_same_scene(self) -> None:
        first, second = scene(scene_generator(3, 5)), scene(scene_generator(3, 5))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])

    def test_scene_does_not_depend_on_those_before(self, corpus: Corpus) -> None:
        image, labels = scene(scene_generator(0, 17))
        np.testing.assert_array_equal(image, corpus[17][0])
        np.testing.assert_array_equal(labels, corpus[17][1])

    @pytest.mark.parametrize(("seed", "index"), [(0, 1), (1, 0), (2**40, 0)])
    def test_other_seed_or_index_other_scene(self, seed: int, index: int) -> None:
        image, _ = scene(scene_generator(seed, index), (96, 128))
        assert (image != scene(scene_generator(0, 0), (96, 128))[0]).any()

    def test_renderings_share_labels_and_nothing_of_their_colours(self) -> None:
        (first, labels), (second, same) = (
            scene(scene_generator(0, 4), rendering=rendering) for rendering in (0, 2)
        )
        np.testing.assert_array_equal(labels, same)
        for label in range(CLASSES):
            here = labels == label
            if here.sum() > 500:
                assert np.abs(first[here].mean(0) - second[here].mean(0)).max() > 5, label

    def test_a_rendering_does_not_depend_on_those_before(self) -> None:
        generator = scene_generator(0, 4)
        np.testing.assert_array_equal(
            scene(generator, rendering=1)[0], scene(scene_generator(0, 4), rendering=1)[0]
        )

    def test_global_random_state_is_left_alone(self) -> None:
        np.random.seed(7)
        expected = np.random.random(3)
        np.random.seed(7)
        scene(scene_generator(0, 0), (96, 128))
        np.testing.assert_array_equal(np.random.random(3), expected)


class TestLayout:
    def test_shapes_types_and_range(self, corpus: Corpus) -> None:
        for image, labels in corpus:
            assert image.dtype == labels.dtype == np.uint8
            assert image.shape == (*labels.shape, 3)
            assert set(np.unique(labels)) <= {*range(CLASSES), VOID_BYTE}

    def test_default_sizes_vary(self, corpus: Corpus) -> None:
        sizes = np.asarray([labels.shape for _, labels in corpus])
        assert sizes.min() >= 216
        assert sizes.max() <= 352
        assert len(np.unique(sizes, axis=0)) > 30
        assert 0 < (sizes[:, 0] > sizes[:, 1]).sum() < 12  # some stand upright

    @pytest.mark.parametrize("size", [(64, 64), (97, 131), (131, 97), (320, 480)])
    def test_asked_size_is_kept(self, size: tuple[int, int]) -> None:
        for index in range(4):
            image, labels = scene(scene_generator(1, index), size)
            assert labels.shape == size
            assert image.shape == (*size, 3)


class TestContent:
    def test_every_class_has_its_share(self, corpus: Corpus) -> None:
        _, labels = pixels(corpus, step=1)
        shares = np.bincount(labels, minlength=CLASSES) / len(labels)
        assert shares.min() > 0.01
        assert shares.max() < 0.45

    def test_every_class_is_in_many_scenes(self, corpus: Corpus) -> None:
        for label in range(CLASSES):
            assert sum((labels == label).sum() > 100 for _, labels in corpus) >= 25

    def test_void_is_rare(self, corpus: Corpus) -> None:
        assert np.mean([(labels == VOID_BYTE).mean() for _, labels in corpus]) < 0.02

    def test_sky_is_above_the_road(self, corpus: Corpus) -> None:
        for _, labels in corpus:
            road = np.nonzero(labels == SCENE_CLASSES.index("road"))[0]
            sky = np.nonzero(labels == SCENE_CLASSES.index("sky"))[0]
            assert not len(sky) or sky.mean() < road.mean()


class TestColour:
    def test_kmeans_on_colours_fails(self, corpus: Corpus) -> None:
        points, labels = pixels(corpus[:30], step=199)
        _, assigned = min((lloyd(points, seed) for seed in range(4)), key=lambda run: run[0])
        assert matched_miou(assigned, labels) < 0.35

    def test_the_score_notices_colours_that_name_the_class(self) -> None:
        labels = np.arange(700) % CLASSES
        assert matched_miou((labels + 3) % CLASSES, labels) == pytest.approx(1.0)

    def test_mean_colours_of_classes_overlap(self, corpus: Corpus) -> None:
        """Between two classes, scene means differ less than within a class."""
        means = [
            np.asarray([i[t == label].mean(0) for i, t in corpus if (t == label).sum() > 100])
            for label in range(CLASSES)
        ]
        within = np.mean([each.std(0).mean() for each in means])
        between = np.std([each.mean(0) for each in means], axis=0).mean()
        assert within > between
