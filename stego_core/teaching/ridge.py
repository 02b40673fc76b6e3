"""A linear classifier of the lessons, which says something of patches that resemble none of them.

Ridge regression of the classes (Hoerl & Kennard, 1970): one small system of linear equations.
"""

import numpy as np

from stego_core.teaching.patch_graph import TINY, Rows, Vectors

PENALTY = 0.1
"""λ, beside squared distances of 1 on average and weights that sum to the number of lessons."""


def class_scores(lessons: Vectors, labels: Rows, positions: Vectors) -> Vectors:
    """How much patches look like each taught class to a linear classifier.

    Weights W and intercepts b minimise Σ_l ω_l |x_l W + b − e(y_l)|² + λ |W|². Every class weighs
    the same, ω_l ~ 1 / lessons of y_l: people click where much is wrong, not where classes are.

    Args:
        lessons: (m, D) positions of the lessons in the graph's space.
        labels: (m,) their classes, numbered from 0 without a gap.
        positions: (n, D) of the patches.

    Returns:
        (n, classes) float32, not negative, of sum 1.
    """
    counts = np.bincount(labels)
    weights = len(labels) / (len(counts) * counts[labels])
    targets = np.eye(len(counts))[labels]
    middle, mean = (weights @ part / len(labels) for part in (lessons, targets))
    centred = lessons - middle
    pulled = centred.T * weights
    square = pulled @ centred + PENALTY * np.eye(lessons.shape[1])
    slopes = np.linalg.solve(square, pulled @ (targets - mean)).astype(np.float32)
    found = positions @ slopes + (mean - middle @ slopes).astype(np.float32)
    found = np.maximum(found, TINY)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float32)
