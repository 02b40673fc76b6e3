"""Lessons along the graph: against dense equations in float64, and what they promise."""

import numpy as np
import pytest
from scipy import sparse

from stego_core.teaching.patch_graph import Near, PatchGraph
from stego_core.teaching.propagation import (
    LESSON_NODES,
    LESSON_WEIGHT,
    LINEAR_LESSONS,
    LINEAR_SHARE,
    PRIOR_NODES,
    PRIORS_OUTWEIGHED,
    STRONGEST_HOLD,
    STRONGEST_PRIOR,
    UNTAUGHT_SHARE,
    Lessons,
    Propagation,
    cluster_prior,
    conjugate_gradients,
    mixed,
    read_off,
    with_untaught,
)
from stego_core.teaching.ridge import class_scores

CLASSES = 4


def groups(count: int = 3, each: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Positions of patches in groups far apart, and the group of each."""
    draw = np.random.default_rng(1)
    group = np.repeat(np.arange(count), [each] * (count - 1) + [each // 8])  # the last is small
    centres = 2 * np.eye(count, 6)
    return (centres[group] + 0.2 * draw.normal(size=(len(group), 6))).astype(np.float32), group


@pytest.fixture
def made() -> tuple[Propagation, np.ndarray]:
    positions, group = groups()
    cosines = 0.2 * np.eye(CLASSES)[group].astype(np.float32)
    return Propagation.of(PatchGraph.of(positions), cluster_prior(cosines, CLASSES)), group


def dense_solution(made: Propagation, lessons: Lessons) -> np.ndarray:
    """The minimum of the formula in `Propagation`, by its normal equations."""
    near, count = made.graph.near, len(made.prior)
    weights = np.zeros((count, count))
    for row, (nodes, values) in enumerate(zip(near.nodes, near.weights, strict=True)):
        for node, value in zip(nodes, values, strict=True):
            weights[row, node] = weights[node, row] = max(weights[row, node], value)
    degree = weights.sum(axis=1)
    prior = min(PRIOR_NODES / count, STRONGEST_PRIOR) * degree.mean()
    clusters = made.prior.argmax(axis=1).tolist()
    hold = [np.sqrt(count / (CLASSES * clusters.count(cluster))) for cluster in clusters]
    held = prior * np.clip(hold, 1, STRONGEST_HOLD)
    equations = np.diag(degree + held) - weights
    wanted = held[:, None] * made.prior.astype(float)
    for position, cls in zip(*lessons, strict=True):
        squared = ((made.graph.positions - position).astype(float) ** 2).sum(axis=1)
        for node in np.argsort(squared)[:LESSON_NODES]:
            pull = (LESSON_WEIGHT + PRIORS_OUTWEIGHED * prior) * np.exp(-2.0 * squared[node])
            equations[node, node] += pull
            wanted[node, cls] += pull
    return np.linalg.solve(equations, wanted)


def slow_mix(before: np.ndarray, lessons: Lessons, positions: np.ndarray) -> np.ndarray:
    """The formula of `mixed`, a patch and a class at a time."""
    taught = sorted(set(lessons.classes.tolist()))
    labels = np.array([taught.index(cls) for cls in lessons.classes.tolist()])
    scores = class_scores(lessons.positions, labels, positions)
    share = LINEAR_SHARE * len(labels) / (len(labels) + LINEAR_LESSONS)
    after = before.copy()
    for patch in range(len(before)):
        together = sum(before[patch, cls] for cls in taught)
        for column, cls in enumerate(taught):
            told = together * scores[patch, column]
            after[patch, cls] = (1 - share) * before[patch, cls] + share * told
    return after


def lessons_of(made: Propagation, nodes: list[int], classes: list[int]) -> Lessons:
    return Lessons(made.graph.positions[nodes], np.array(classes, np.int64))


def test_the_solution_is_that_of_dense_equations(made: tuple[Propagation, np.ndarray]) -> None:
    lessons = lessons_of(made[0], [3, 500, 600], [3, 1, 0])
    np.testing.assert_allclose(made[0].solve(lessons), dense_solution(made[0], lessons), atol=5e-3)


def test_probabilities_sum_to_one(made: tuple[Propagation, np.ndarray]) -> None:
    found = made[0].solve(lessons_of(made[0], [3], [3]))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.min() >= 0


def test_a_lesson_changes_what_resembles_it_and_nothing_else(
    made: tuple[Propagation, np.ndarray],
) -> None:
    propagation_, group = made
    before = propagation_.solve(lessons_of(propagation_, [], []))
    found = propagation_.solve(lessons_of(propagation_, [3], [3]))
    squared = ((propagation_.graph.positions - propagation_.graph.positions[3]) ** 2).sum(axis=1)
    nearest = np.argsort(squared)
    assert (found[nearest[:5]].argmax(axis=1) == 3).all()
    others = nearest[5:50]  # nobody said anything of them
    assert found[others, 3].mean() > 1.3 * before[others, 3].mean()
    np.testing.assert_array_equal(found[group > 0].argmax(axis=1), group[group > 0])
    np.testing.assert_allclose(found[group > 0], before[group > 0], atol=1e-2)


def test_without_lessons_clusters_are_what_they_were(
    made: tuple[Propagation, np.ndarray],
) -> None:
    found = made[0].solve(lessons_of(made[0], [], []))
    np.testing.assert_array_equal(found.argmax(axis=1), made[1])


def test_two_lessons_split_a_group_and_each_keeps_to_its_side() -> None:
    line = np.zeros((101, 2), np.float32)
    line[:, 0] = np.linspace(-1, 1, 101)
    made = Propagation.of(PatchGraph.of(line, 4), cluster_prior(np.ones((101, 1)), 3))
    found = made.solve(lessons_of(made, [20, 80], [1, 2])).argmax(axis=1)
    assert (found[19:22] == 1).all()
    assert (found[79:82] == 2).all()
    assert 2 not in found[:50]
    assert 1 not in found[51:]


def test_an_earlier_solution_leads_to_the_same(made: tuple[Propagation, np.ndarray]) -> None:
    lessons = lessons_of(made[0], [3, 500], [3, 1])
    start = made[0].solve(lessons_of(made[0], [3], [3]))
    np.testing.assert_allclose(made[0].solve(lessons, start), made[0].solve(lessons), atol=5e-3)


def test_a_cluster_that_was_added_has_no_prior() -> None:
    prior = cluster_prior(np.array([[0.9, 0.1]], np.float32), 3)
    expected = np.exp([9.0, 1.0]) / np.exp([9.0, 1.0]).sum()
    np.testing.assert_allclose(prior[0], [*expected, 0], atol=1e-6)


def test_conjugate_gradients_solve_each_column() -> None:
    draw = np.random.default_rng(0)
    root = draw.normal(size=(30, 30))
    matrix = root @ root.T + 30 * np.eye(30)
    wanted = draw.normal(size=(30, 5)).astype(np.float32)
    found = conjugate_gradients(
        sparse.csr_array(matrix.astype(np.float32)), wanted, np.zeros_like(wanted)
    )
    np.testing.assert_allclose(found, np.linalg.solve(matrix, wanted), atol=1e-3)


class TestMixed:
    def test_is_its_formula(self, made: tuple[Propagation, np.ndarray]) -> None:
        lessons = lessons_of(made[0], [3, 500, 600, 601], [3, 1, 0, 0])
        found = mixed(made[0].prior, lessons, made[0].graph.positions)
        slow = slow_mix(made[0].prior.astype(float), lessons, made[0].graph.positions)
        np.testing.assert_allclose(found, slow, atol=1e-6)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)

    def test_nodes_are_taught_the_solution_and_the_mixture(
        self, made: tuple[Propagation, np.ndarray]
    ) -> None:
        lessons = lessons_of(made[0], [3, 500, 600], [3, 1, 0])  # no class vanishes
        slow = slow_mix(dense_solution(made[0], lessons), lessons, made[0].graph.positions)
        np.testing.assert_allclose(made[0].taught(lessons), slow, atol=5e-3)

    def test_a_class_without_a_lesson_keeps_what_it_has(
        self, made: tuple[Propagation, np.ndarray]
    ) -> None:
        lessons = lessons_of(made[0], [3, 500] * 100, [3, 1] * 100)
        found = mixed(made[0].prior, lessons, made[0].graph.positions)
        np.testing.assert_array_equal(found[:, [0, 2]], made[0].prior[:, [0, 2]])

    def test_lessons_of_one_class_share_nothing_out(
        self, made: tuple[Propagation, np.ndarray]
    ) -> None:
        lessons = lessons_of(made[0], [3, 500], [1, 1])
        found = mixed(made[0].prior, lessons, made[0].graph.positions)
        np.testing.assert_array_equal(found, made[0].prior)


class TestWithUntaught:
    def test_a_class_that_lessons_contradict_keeps_the_nodes_most_like_it(
        self, made: tuple[Propagation, np.ndarray]
    ) -> None:
        propagation_, group = made
        of_group = np.flatnonzero(group == 2)
        lessons = lessons_of(propagation_, of_group[:10].tolist() * 20, [0] * 200)
        swallowed = propagation_.solve(lessons)
        assert np.count_nonzero(swallowed.argmax(axis=1) == 2) == 0
        found = propagation_.taught(lessons)
        kept = np.flatnonzero(found.argmax(axis=1) == 2)
        assert len(kept) == int(UNTAUGHT_SHARE * len(of_group))
        likeness = swallowed[:, 2] / swallowed[:, [0, 1, 3]].max(axis=1)
        assert set(kept) == set(np.argsort(-likeness)[: len(kept)])
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)

    def test_a_class_with_a_lesson_may_lose_all(self) -> None:
        prior = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
        lost = np.tile(np.array([0.9, 0.1], np.float32), (20, 1))
        np.testing.assert_array_equal(with_untaught(lost, prior, np.array([0, 1])), lost)

    def test_a_class_that_keeps_enough_is_left_alone(self) -> None:
        prior = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
        found = np.tile(np.array([0.9, 0.1], np.float32), (20, 1))
        found[:3] = 0.1, 0.9
        np.testing.assert_allclose(with_untaught(found, prior, np.array([0])), found, atol=1e-6)


class TestReadOff:
    def test_is_the_weighted_mean_of_the_nodes(self) -> None:
        probabilities = np.eye(3, dtype=np.float32)
        near = Near(np.array([[0, 2]]), np.array([[0.75, 0.25]], np.float32))
        np.testing.assert_allclose(read_off(near, probabilities), [[0.75, 0, 0.25]])

    def test_far_from_all_nodes_the_nearest_counts_most(self) -> None:
        near = Near(np.array([[1, 0]]), np.zeros((1, 2), np.float32))
        found = read_off(near, np.eye(2, dtype=np.float32))
        assert found[0].argmax() == 1
        np.testing.assert_allclose(found.sum(), 1, atol=1e-6)
