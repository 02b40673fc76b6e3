"""The linear classifier of lessons, against its objective minimised by hand in float64."""

import numpy as np

from stego_core.teaching.ridge import PENALTY, class_scores


def lessons(each: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m, 5) and classes, so many of each class."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(each)), each)
    positions = 0.3 * draw.normal(size=(len(labels), 5)) + np.eye(len(each), 5)[labels]
    return positions.astype(np.float32), labels


def slow_scores(positions: np.ndarray, labels: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Every class by itself, one lesson after another, the intercept as an axis of its own."""
    counts, found = np.bincount(labels), []
    for cls in range(len(counts)):
        square = PENALTY * np.diag([1.0] * positions.shape[1] + [0.0])
        wanted = np.zeros(len(square))
        for position, label in zip(positions, labels, strict=True):
            weight = len(labels) / len(counts) / counts[label]
            row = np.append(position.astype(float), 1.0)
            square += weight * np.outer(row, row)
            wanted += weight * row * (label == cls)
        solved = np.linalg.solve(square, wanted)
        found.append([max(float(np.append(patch, 1.0) @ solved), 0.0) for patch in patches])
    scores = np.array(found).T
    return scores / scores.sum(axis=1, keepdims=True)


def test_scores_are_those_of_the_objective() -> None:
    positions, labels = lessons((3, 20, 7))
    patches, _ = lessons((5, 5, 5), seed=1)
    np.testing.assert_allclose(
        class_scores(positions, labels, patches), slow_scores(positions, labels, patches), atol=1e-5
    )


def test_a_class_of_a_few_lessons_is_told_as_well_as_others() -> None:
    positions, labels = lessons((2, 200))
    patches, classes = lessons((100, 100), seed=1)
    right = class_scores(positions, labels, patches).argmax(axis=1) == classes
    assert right[:100].mean() > 0.9
    assert right[100:].mean() > 0.9


def test_a_patch_unlike_all_classes_still_has_probabilities() -> None:
    """Slopes may send it below zero for every class but one, or for all."""
    positions, labels = lessons((4, 4, 4))
    far = np.array([[1e4, -1e4, 1e4, -1e4, 1e4], [0, 0, 0, 0, 0]], np.float32)
    found = class_scores(positions, labels, far)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.min() >= 0
