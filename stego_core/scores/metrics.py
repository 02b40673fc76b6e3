"""Confusion matrix, matching of clusters to classes, accuracy and IoU."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.labels.void import VOID_BYTE


class Confusion:
    """Counts (classes, clusters) int64 of pixels by true class and predicted cluster."""

    def __init__(self, classes: int, clusters: int) -> None:
        """Counts of no pixels."""
        self.counts: NDArray[np.int64] = np.zeros((classes, clusters), np.int64)

    def add(self, labels: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count pixels: labels (void negative) and predicted clusters, of equal shape.

        Pixels that hold no data (predicted VOID_BYTE) are not counted.
        """
        if labels.shape != predicted.shape:
            raise ValueError(f"labels {labels.shape} and predictions {predicted.shape} differ")
        classes, clusters = self.counts.shape
        known = (labels >= 0) & (predicted != VOID_BYTE)
        if known.any():  # an id outside would silently count in another class's row
            highest, low, high = labels[known].max(), predicted[known].min(), predicted[known].max()
            if highest >= classes or low < 0 or high >= clusters:
                raise ValueError(
                    f"labels reach {highest} and clusters span {low} to {high}; the matrix has "
                    f"{classes} classes and {clusters} clusters"
                )
        cell = labels[known].astype(np.int64) * clusters + predicted[known]
        self.counts += np.bincount(cell, minlength=self.counts.size).reshape(classes, clusters)


class Scores(NamedTuple):
    """Quality of a matched confusion matrix, all in percent.

    Attributes:
        accuracy: pixels whose matched cluster is their class, of all non-void pixels.
        miou: mean IoU over classes with a non-empty union.
        per_class: (classes,) IoU, NaN where the union is empty.
    """

    accuracy: float
    miou: float
    per_class: NDArray[np.float64]


def match_with_names(counts: NDArray[np.int64], named: NDArray[np.int64]) -> NDArray[np.int64]:
    """The matching of clusters of which people named some; as `match` of the others.

    Args:
        counts: (classes, clusters) pixels.
        named: (clusters,) the class that bears a cluster's name, −1 where none does.
    """
    others, free = np.flatnonzero(named < 0), np.setdiff1d(np.arange(len(counts)), named)
    matched = named.copy()
    left = match(counts[np.ix_(free, others)])
    matched[others[left >= 0]] = free[left[left >= 0]]
    return matched


def match(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """One-to-one matching that maximises the matched pixels (Kuhn 1955, Munkres 1957).

    (clusters,) int64 of counts (classes, clusters): each cluster's class, −1 for one left over.
    Where classes do not occur there are several such matchings, with other unions and so another
    mIoU: this is the one that STEGO's metrics find, by giving clusters to classes in this order.
    """
    from scipy.optimize import linear_sum_assignment  # a second, which most commands need not wait

    clusters, classes = linear_sum_assignment(counts.T, maximize=True)
    matched = np.full(counts.shape[1], -1, np.int64)
    matched[clusters] = classes
    return matched


def majority_match(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Many-to-one matching: each cluster counts as the class that most of its pixels have.

    Scores under it measure how pure the clusters are; they rise with the number of clusters.
    Shapes as in `match`; −1 for a cluster without labelled pixels.
    """
    return np.where(counts.any(axis=0), counts.argmax(axis=0), -1)


def scores(counts: NDArray[np.int64], matched: NDArray[np.int64]) -> Scores:
    """Accuracy and IoU of clusters under a matching.

    Pixels of clusters left over count as wrong: they stay in their class's union and in the
    accuracy's denominator.

    Args:
        counts: (classes, clusters) pixels.
        matched: (clusters,) class of each cluster or −1.
    """
    by_class = np.zeros((len(counts), len(counts)), np.int64)  # true by predicted class
    np.add.at(by_class.T, matched[matched >= 0], counts.T[matched >= 0])
    hits = by_class.diagonal()
    union = counts.sum(axis=1) + by_class.sum(axis=0) - hits
    per_class = np.full(len(counts), np.nan)
    np.divide(100.0 * hits, union, out=per_class, where=union > 0)
    if not counts.any():
        return Scores(float("nan"), float("nan"), per_class)
    accuracy = 100.0 * float(hits.sum()) / int(counts.sum())
    return Scores(accuracy, float(np.nanmean(per_class)), per_class)


def released_scores(counts: NDArray[np.int64]) -> Scores:
    """Scores as STEGO's released metrics count them where clusters outnumber the classes.

    Pixels of clusters number `classes` and above are not counted, whatever they are matched to;
    those of the other clusters left over make one more class, "Extra", whose IoU is 0 where it has
    pixels. With as many clusters as classes, these are `scores` under `match`.

    Args:
        counts: (classes, clusters) pixels, at least as many clusters as classes.

    Returns:
        `per_class` has classes + 1 numbers, the last one of Extra.
    """
    classes = len(counts)
    counted = counts.copy()
    counted[:, classes:] = 0
    matched = match(counted)
    with_extra = np.vstack([counted, np.zeros(counted.shape[1], np.int64)])
    return scores(with_extra, np.where(matched < 0, classes, matched))
