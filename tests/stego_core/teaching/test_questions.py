"""Questions: the expected change is what solving again for every answer gives."""

import numpy as np
import pytest

from stego_core.teaching import questions
from stego_core.teaching.patch_graph import PatchGraph
from stego_core.teaching.propagation import Lessons, Propagation

NODES, CLASSES = 60, 4


def spreading(seed: int = 0) -> Propagation:
    draw = np.random.default_rng(seed)
    places = draw.normal(size=(5, 8))[draw.integers(5, size=NODES)]
    positions = 0.25 * (places + 0.3 * draw.normal(size=(NODES, 8)))
    prior = draw.dirichlet(np.ones(CLASSES), size=NODES).astype(np.float32)
    return Propagation.of(PatchGraph.of(positions.astype(np.float32)), prior)


def lessons(spread: Propagation, nodes: list[int], classes: list[int]) -> Lessons:
    return Lessons(spread.graph.positions[nodes], np.array(classes, np.int64))


def solved(spread: Propagation, taught: Lessons, node: int, cls: int) -> np.ndarray:
    """With one further lesson at a node itself, dense, in float64."""
    equations, wanted = spread.system(taught)
    matrix, right = equations.toarray().astype(np.float64), wanted.astype(np.float64)
    matrix[node, node] += spread.pull
    right[node, cls] += spread.pull
    return np.linalg.solve(matrix, right)


@pytest.mark.parametrize("seed", range(4))
def test_expected_changes_are_those_of_solving_again(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWERS", CLASSES)
    spread = spreading(seed)
    taught = lessons(spread, [3, 17], [0, 2])
    found = spread.solve(taught)
    nodes = np.array([0, 9, 25, 44])
    expected = []
    for node in nodes.tolist():
        flips = [
            np.count_nonzero(solved(spread, taught, node, cls).argmax(1) != found.argmax(1))
            for cls in range(CLASSES)
        ]
        expected.append(float(found[node] @ np.array(flips)))
    got = questions.expected_changes(found, spread.influence(taught, nodes), nodes, spread.pull)
    assert max(expected) > 2
    np.testing.assert_allclose(got, expected, atol=1.0)  # conjugate gradients end before a tie


def test_influence_is_a_column_of_the_inverse() -> None:
    spread = spreading()
    taught = lessons(spread, [3, 17], [0, 2])
    equations, _ = spread.system(taught)
    inverse = np.linalg.inv(equations.toarray().astype(np.float64))
    nodes = np.array([5, 3])
    np.testing.assert_allclose(spread.influence(taught, nodes), inverse[:, nodes], 0.02, 5e-5)


def test_no_lesson_is_no_hindrance() -> None:
    spread = spreading()
    none = Lessons(np.zeros((0, 8), np.float32), np.zeros(0, np.int64))
    inverse = np.linalg.inv(spread.smooth.toarray().astype(np.float64))
    np.testing.assert_allclose(
        spread.influence(none, np.array([7]))[:, 0], inverse[:, 7], 0.02, 5e-5
    )


def test_candidates_are_uncertain_with_many_like_them() -> None:
    spread = spreading()
    margins = np.random.default_rng(1).random(NODES).astype(np.float32)
    excluded = np.arange(NODES) < 10
    found = questions.candidates(margins, spread, excluded, 5)
    weights = spread.kept * np.eye(NODES) - spread.smooth.toarray()
    np.fill_diagonal(weights, 0)
    joined = weights > 0
    open_ = ~excluded
    expected = []
    while open_.any() and len(expected) < 5:
        score = np.where(open_, (1 - margins) * weights.sum(axis=1), -1)
        expected.append(int(score.argmax()))
        open_ &= ~joined[expected[-1]]
        open_[expected[-1]] = False
    assert found.tolist() == expected


def test_all_excluded_leaves_no_candidate() -> None:
    spread = spreading()
    found = questions.candidates(np.zeros(NODES, np.float32), spread, np.ones(NODES, np.bool_))
    assert found.tolist() == []


def test_margins() -> None:
    found = np.array([[0.5, 0.2, 0.3], [0.4, 0.4, 0.2]], np.float32)
    np.testing.assert_allclose(questions.margins_of(found), [0.2, 0.0], atol=1e-6)
    assert questions.margins_of(np.ones((3, 1), np.float32)).tolist() == [1, 1, 1]
