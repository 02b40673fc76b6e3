"""Confusion, matching and scores against loops and brute force."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stego_core.labels.void import VOID
from stego_core.scores.metrics import Confusion, majority_match, match, released_scores, scores

CLASSES, CLUSTERS = 3, 5
Counts = NDArray[np.int64]
pixels = st.lists(
    st.tuples(st.integers(VOID, CLASSES - 1), st.integers(0, CLUSTERS - 1)), max_size=40
)


def confusion(pairs: list[tuple[int, int]]) -> Confusion:
    table = np.array(pairs, np.int16).reshape(-1, 2)
    matrix = Confusion(CLASSES, CLUSTERS)
    matrix.add(table[:, 0], table[:, 1].astype(np.uint8))
    return matrix


def slow_scores(counts: Counts, matched: list[int]) -> tuple[float, list[float]]:
    """Accuracy and IoU of every class (NaN: empty union), pixel by pixel."""
    right, total = 0, 0
    both = [0] * len(counts)
    either = [0] * len(counts)
    for cls, row in enumerate(counts):
        for cluster, n in enumerate(row):
            for _ in range(n):
                total += 1
                right += matched[cluster] == cls
                both[cls] += matched[cluster] == cls
                for c in {cls, matched[cluster]} - {-1}:
                    either[c] += 1
    iou = [100 * b / e if e else float("nan") for b, e in zip(both, either, strict=True)]
    return 100 * right / total, iou


def most_matched(counts: Counts) -> int:
    """The best number of matched pixels over all one-to-one matchings."""
    tall = counts if counts.shape[0] >= counts.shape[1] else counts.T
    rows, columns = tall.shape
    return max(sum(tall[p[j], j] for j in range(columns)) for p in permutations(range(rows)))


class TestConfusion:
    @settings(max_examples=50, deadline=None)
    @given(pixels)
    def test_counts_every_pixel_that_is_not_void(self, pairs: list[tuple[int, int]]) -> None:
        expected = np.zeros((CLASSES, CLUSTERS), int)
        for label, cluster in pairs:
            if label != VOID:
                expected[label, cluster] += 1
        np.testing.assert_array_equal(confusion(pairs).counts, expected)

    @settings(max_examples=50, deadline=None)
    @given(pixels, pixels)
    def test_adding_ignores_the_partition_and_the_order(
        self, a: list[tuple[int, int]], b: list[tuple[int, int]]
    ) -> None:
        whole = confusion(a + b).counts
        for parts in ([a, b], [b, a]):
            matrix = Confusion(CLASSES, CLUSTERS)
            for part in parts:
                table = np.array(part, np.int64).reshape(-1, 2)
                matrix.add(table[:, 0], table[:, 1].astype(np.uint8))
            np.testing.assert_array_equal(matrix.counts, whole)

    def test_unequal_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
            Confusion(2, 2).add(np.zeros((2, 3), int), np.zeros((3, 2), int))

    @pytest.mark.parametrize(("label", "cluster"), [(CLASSES, 0), (0, CLUSTERS), (0, -1)])
    def test_ids_outside_the_matrix_are_refused(self, label: int, cluster: int) -> None:
        with pytest.raises(ValueError, match="3 classes and 5 clusters"):
            Confusion(CLASSES, CLUSTERS).add(np.array([label]), np.array([cluster]))


class TestMatching:
    @pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (1, 4), (4, 1)])
    def test_no_other_one_to_one_matching_is_better(self, shape: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        for _ in range(20):
            counts = rng.integers(0, 30, shape)
            matched = match(counts)
            used = matched[matched >= 0]
            assert len(set(used)) == len(used) == min(shape)
            assert sum(counts[c, k] for k, c in enumerate(matched) if c >= 0) == most_matched(
                counts
            )

    def test_gives_up_the_largest_cell_where_the_sum_is_larger(self) -> None:
        assert match(np.array([[10, 9], [9, 0]])).tolist() == [1, 0]

    def test_left_over_clusters_have_no_class(self) -> None:
        assert match(np.array([[0, 8, 1, 0], [9, 0, 0, 2]])).tolist() == [1, 0, -1, -1]

    def test_many_clusters_may_share_their_majority(self) -> None:
        counts = np.array([[5, 1, 0, 9], [2, 4, 0, 8], [0, 0, 0, 0]])
        assert majority_match(counts).tolist() == [0, 1, -1, 0]

    @given(arrays(np.int64, (CLASSES, CLUSTERS), elements=st.integers(0, 50)))
    def test_no_matching_is_more_accurate_than_the_majority(self, counts: Counts) -> None:
        best, one_to_one = (
            scores(counts, each).accuracy for each in (majority_match(counts), match(counts))
        )
        assert best >= one_to_one or counts.sum() == 0


def slow_released(counts: Counts) -> tuple[float, float]:
    """Accuracy and mIoU, step by step as STEGO's metrics describe them: clusters in rows.

    Of n classes and e extra clusters, rows n and above stay empty. The matching is solved with
    clusters as rows; with extra ones, unmatched rows are summed into another class, "Extra".
    """
    classes, clusters = counts.shape
    stats = np.zeros((clusters, classes), np.float64)
    stats[:classes] = counts.T[:classes]  # predictions of other clusters are masked out
    rows, columns = linear_sum_assignment(stats, maximize=True)
    if clusters == classes:
        histogram = stats[np.argsort(columns)]
    else:
        _, chosen = linear_sum_assignment(stats.T, maximize=True)
        left_over = sorted(set(range(clusters)) - set(rows.tolist()))
        histogram = np.concatenate([stats[chosen], stats[left_over].sum(0, keepdims=True)])
        histogram = np.concatenate([histogram, np.zeros((classes + 1, 1))], axis=1)
    ious = []
    for number in range(len(histogram)):
        hits = histogram[number, number]
        union = histogram[number].sum() + histogram[:, number].sum() - hits
        if union:
            ious.append(hits / union)
    return 100 * np.trace(histogram) / histogram.sum(), 100 * float(np.mean(ious))


class TestReleased:
    """Against the released metrics, also where several matchings are best."""

    @settings(max_examples=200, deadline=None)
    @given(
        arrays(
            np.int64, st.tuples(st.integers(2, 5), st.integers(0, 3)).map(lambda s: (s[0], sum(s))),
            elements=st.sampled_from([0, 0, 0, 0, 1, 2, 7]),
        )
    )  # fmt: skip
    def test_equal_the_released_counting(self, counts: Counts) -> None:
        counts[0, 0] += 1
        found = released_scores(counts)
        assert (found.accuracy, found.miou) == pytest.approx(slow_released(counts))
        if counts.shape[0] == counts.shape[1]:
            usual = scores(counts, match(counts))
            assert (usual.accuracy, usual.miou) == (found.accuracy, found.miou)

    def test_a_tie_decides_what_an_absent_class_costs(self) -> None:
        counts = np.array([[9, 3, 0], [0, 0, 0], [0, 0, 0]])  # two classes do not occur
        found = scores(counts, match(counts))
        assert found.miou == pytest.approx(slow_released(counts)[1])
        others = {
            scores(counts, np.array(order)).miou for order in ([0, 1, 2], [0, 2, 1])
        }  # fmt: skip
        assert found.miou in others

    def test_extra_is_a_class_of_its_own(self) -> None:
        counts = np.array([[6, 0, 4, 5], [0, 10, 0, 0], [0, 3, 0, 0]])
        found = released_scores(counts)
        assert found.accuracy == pytest.approx(100 * 16 / 23)  # 5 pixels are not counted
        assert found.per_class.tolist() == pytest.approx(
            [60, 100 * 10 / 13, 0, np.nan], nan_ok=True
        )


class TestScores:
    @settings(max_examples=60, deadline=None)
    @given(
        arrays(
            np.int64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.integers(0, 6)
        )
    )
    def test_equal_the_count_pixel_by_pixel(self, counts: Counts) -> None:
        counts.flat[0] += 1
        matched = match(counts)
        found = scores(counts, matched)
        accuracy, iou = slow_scores(counts, matched.tolist())
        assert found.accuracy == pytest.approx(accuracy)
        np.testing.assert_allclose(found.per_class, iou)
        known = [value for value in iou if value == value]
        assert found.miou == pytest.approx(sum(known) / len(known))

    def test_extra_clusters_count_as_wrong(self) -> None:
        found = scores(np.array([[6, 0, 4], [0, 10, 0]]), np.array([0, 1, -1]))
        assert found.accuracy == pytest.approx(80)
        assert found.per_class.tolist() == pytest.approx([60, 100])

    def test_class_with_an_empty_union_is_left_out(self) -> None:
        found = scores(np.array([[3, 1], [0, 0], [0, 4]]), np.array([0, 2]))
        np.testing.assert_allclose(found.per_class, [75, np.nan, 80])
        assert found.miou == pytest.approx(77.5)

    def test_class_that_is_only_predicted_counts_as_zero(self) -> None:
        found = scores(np.array([[3, 1], [0, 0]]), np.array([0, 1]))
        assert found.per_class.tolist() == [75, 0]

    def test_no_labelled_pixel_gives_no_score(self) -> None:
        found = scores(np.zeros((2, 2), np.int64), np.array([0, 1]))
        assert np.isnan([found.accuracy, found.miou, *found.per_class]).all()
