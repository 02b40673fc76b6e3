"""Classes of a few labelled points, spread along the graph of patches, with clusters as prior.

Zhu, Ghahramani & Lafferty (ICML 2003) spread labels so that neighbours agree; where few are given,
all is decided by them. Here every patch also keeps a part of what its cluster says, so that no
lesson changes what does not resemble it: `Propagation` has the formula. The more lessons there are,
the more a linear classifier of them says of patches that resemble none: `mixed`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from stego_core.teaching.patch_graph import TINY, Near, PatchGraph, Rows, Vectors
from stego_core.teaching.ridge import class_scores

PRIOR_SHARPNESS = 10.0
"""Factor of the cosines with the centroids in the prior's softmax."""
PRIOR_NODES = 240
"""ε n: what the prior weighs against a patch's neighbours, times the nodes. So a lesson reaches the
same share of the patches, however many were sampled."""
STRONGEST_PRIOR = 0.1
"""ε, at most: of a few patches."""
STRONGEST_HOLD = 3.0
"""A small cluster holds its patches up to so many times as firmly as others."""
LESSON_WEIGHT = 10.0
"""What a lesson weighs against a neighbour that resembles a patch as much, beside a weak prior."""
PRIORS_OUTWEIGHED = 4.0
"""What it weighs against the prior: in a corpus of a few patches, too, a lesson is heeded."""
LINEAR_SHARE = 0.6
"""What a linear classifier says counts for this share, once there are many lessons."""
LINEAR_LESSONS = 150
"""With so many lessons it is half of that: a classifier of a few is worth little."""
UNTAUGHT_SHARE = 0.3
"""A cluster whose class no lesson names keeps at least this share of its nodes."""
LESSON_NODES = 5
"""Nodes that a lesson is joined to."""
TOLERANCE = 1e-3
"""Of the residual, relative to the right-hand side."""
JUST_ABOVE = np.float32(1.0001)
"""A ratio that decides between two classes."""
ITERATIONS = 200
"""Of conjugate gradients, at most."""


class Lessons(NamedTuple):
    """What people said of some patches.

    Attributes:
        positions: (m, D) float32 in the graph's space.
        classes: (m,) int64.
    """

    positions: Vectors
    classes: Rows


@dataclass(frozen=True)
class Propagation:
    """Class probabilities P (n, K) of the nodes, that minimise

        ½ Σ_ij w_ij |P_i − P_j|² + ε d Σ_i h_i |P_i − prior_i|² + c Σ_lj w_lj |P_j − e(class of l)|²

    over nodes i and j that are neighbours, of mean degree d, and lessons l with the nodes j near
    them. That is one system of linear equations for all classes; its solution is a mean of priors
    and lessons, so it stays in [0, 1] and sums to 1.

    h_i is √(n / (K · nodes of i's cluster)), between 1 and `STRONGEST_HOLD`: what lessons of large
    regions say must not swallow a small class. ε is `PRIOR_NODES` / n, and `STRONGEST_PRIOR` at
    most; c is `LESSON_WEIGHT`, and besides it `PRIORS_OUTWEIGHED` times ε d.

    Attributes:
        graph: the nodes.
        prior: (n, K) float32, what clusters say of them, over K of sum 1.
        smooth: (n, n) the graph's Laplacian, with the prior's weight on its diagonal.
        kept: (n,) float32, ε d h; its least is ε d, that of the largest cluster.
    """

    graph: PatchGraph
    prior: Vectors
    smooth: sparse.csr_array
    kept: NDArray[np.float32]

    @classmethod
    def of(cls, graph: PatchGraph, prior: Vectors) -> "Propagation":
        """Of a graph of n nodes and the prior (n, K) of them."""
        weights = _symmetric(graph.near)
        degree = np.asarray(weights.sum(axis=1)).ravel()
        prior_weight = min(PRIOR_NODES / len(prior), STRONGEST_PRIOR)
        kept = np.float32(prior_weight * max(float(degree.mean()), TINY)) * _hold(prior)
        smooth = sparse.diags_array(degree + kept) - weights
        return cls(graph, prior, sparse.csr_array(smooth.astype(np.float32)), kept)

    @property
    def pull(self) -> float:
        """c."""
        return LESSON_WEIGHT + PRIORS_OUTWEIGHED * float(self.kept.min())

    def solve(self, lessons: Lessons, start: Vectors | None = None) -> Vectors:
        """P (n, K) float32; `start` is an earlier solution, from which this one is near."""
        equations, wanted = self.system(lessons)
        found = conjugate_gradients(equations, wanted, self.prior if start is None else start)
        found = np.maximum(found, 0)
        return np.asarray(found / found.sum(axis=1, keepdims=True), np.float32)

    def taught(self, lessons: Lessons, start: Vectors | None = None) -> Vectors:
        """What nodes are taught to be, (n, K) float32: `solve`, `mixed`, `with_untaught`."""
        found = mixed(self.solve(lessons, start), lessons, self.graph.positions)
        return with_untaught(found, self.prior, np.unique(lessons.classes))

    def influence(self, lessons: Lessons, nodes: Rows) -> Vectors:
        """(n, m) float32 columns of the inverse of the equations: what moves with each node."""
        equations, _ = self.system(lessons)
        wanted = np.zeros((len(self.prior), len(nodes)), np.float32)
        wanted[nodes, np.arange(len(nodes))] = 1
        return conjugate_gradients(equations, wanted, np.zeros_like(wanted))

    def system(self, lessons: Lessons) -> tuple[sparse.csr_array, Vectors]:
        """The equations (n, n), symmetric and positive definite, and their right side (n, K)."""
        near = self.graph.nearest_nodes(lessons.positions, LESSON_NODES)
        pull = np.float32(self.pull) * near.weights
        wanted = self.kept[:, None] * self.prior
        held = np.zeros(len(self.prior), np.float32)
        classes = np.repeat(lessons.classes, near.nodes.shape[1])
        np.add.at(held, near.nodes.ravel(), pull.ravel())
        np.add.at(wanted, (near.nodes.ravel(), classes), pull.ravel())
        return sparse.csr_array(self.smooth + sparse.diags_array(held)), wanted


def mixed(probabilities: Vectors, lessons: Lessons, positions: Vectors) -> Vectors:
    """Probabilities (n, K) float32, with a share of a linear classifier of the lessons.

    That shares out among the taught classes what they have together: (1 − s) P + s Q, where Q is P
    for every class without a lesson, which keeps what it has, and Σ_taught P times the classifier's
    scores for the others. s is `LINEAR_SHARE` · m / (m + `LINEAR_LESSONS`) with m lessons.
    """
    taught, labels = np.unique(lessons.classes, return_inverse=True)
    if len(taught) < 2:
        return probabilities  # nothing to share out
    share = np.float32(LINEAR_SHARE * len(labels) / (len(labels) + LINEAR_LESSONS))
    together = probabilities[:, taught].sum(axis=1, keepdims=True)
    scores = class_scores(lessons.positions, labels, positions)
    found = probabilities.copy()
    found[:, taught] += share * (together * scores - found[:, taught])
    return found


def with_untaught(probabilities: Vectors, prior: Vectors, taught: Rows) -> Vectors:
    """Probabilities (n, K) float32 in which no class without a lesson vanishes.

    Lessons lie where much is wrong, so that they contradict most of what a poor cluster of a small
    class holds, and say nothing of the rest. Such a class is made more probable, by one factor,
    until `UNTAUGHT_SHARE` of the nodes of its cluster prefer it: those that are most like it.

    Args:
        prior: (n, K) what clusters say of the nodes.
        taught: the classes that lessons name.
    """
    found = probabilities.copy()
    sizes = np.bincount(prior.argmax(axis=1), minlength=prior.shape[1])
    sizes[taught] = 0
    for cls in np.flatnonzero(sizes).tolist():
        least = max(int(UNTAUGHT_SHARE * sizes[cls]), 1)
        others = np.delete(probabilities, cls, axis=1).max(axis=1)
        ratios = probabilities[:, cls] / np.maximum(others, TINY)
        last = np.partition(ratios, -least)[-least]
        found[:, cls] *= JUST_ABOVE / np.clip(last, TINY, JUST_ABOVE)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float32)


def _hold(prior: Vectors) -> Vectors:
    """(n,) how firmly each node is held by what its cluster says, beside others."""
    clusters = prior.argmax(axis=1)
    sizes = np.bincount(clusters, minlength=prior.shape[1])
    count = max(np.count_nonzero(prior.any(axis=0)), 1)
    firm = np.sqrt(len(prior) / (count * np.maximum(sizes, 1)))
    return np.asarray(firm.clip(1, STRONGEST_HOLD)[clusters], np.float32)


def cluster_prior(cosines: Vectors, classes: int) -> Vectors:
    """(n, classes) float32 softmax of cosines (n, K) with the centroids; 0 for taught classes."""
    scaled = PRIOR_SHARPNESS * (cosines - cosines.max(axis=-1, keepdims=True))
    exponential = np.exp(scaled)
    prior = np.zeros((*cosines.shape[:-1], classes), np.float32)
    prior[..., : cosines.shape[-1]] = exponential / exponential.sum(axis=-1, keepdims=True)
    return prior


def read_off(near: Near, probabilities: Vectors) -> Vectors:
    """Class probabilities (n, K) of patches: the weighted mean of the nodes near them (n, k)."""
    sums = np.zeros((len(near.nodes), probabilities.shape[1]), np.float32)
    # Of patches that resemble no node the weights vanish: then the nearest alone counts.
    weights = np.maximum(
        near.weights,
        TINY * 2.0 ** -np.arange(near.nodes.shape[1], dtype=np.float32),
    )
    for column in range(near.nodes.shape[1]):
        sums += weights[:, column, None] * probabilities[near.nodes[:, column]]
    return np.asarray(sums / weights.sum(axis=1, keepdims=True), np.float32)


def _symmetric(near: Near) -> sparse.csr_array:
    """(n, n) weights of the edges: two nodes are joined where one of them is near the other."""
    count, columns = near.nodes.shape
    places = np.repeat(np.arange(count), columns), near.nodes.ravel()
    directed = sparse.csr_array((near.weights.ravel(), places), shape=(count, count))
    return sparse.csr_array(directed.maximum(directed.T))


def conjugate_gradients(equations: sparse.csr_array, wanted: Vectors, start: Vectors) -> Vectors:
    """X (n, K) of equations (n, n) · X = wanted (n, K), the columns side by side.

    The matrix is symmetric and positive definite; its diagonal preconditions (Jacobi). SciPy's `cg`
    takes a column at a time: 0.23 s where this takes 0.09 (12,000 nodes, 27 classes, one thread),
    which a person who clicks would wait for.
    """
    inverse = (1 / equations.diagonal())[:, None]
    found = start.astype(np.float32, copy=True)
    residual = wanted - equations @ found
    scaled = inverse * residual
    direction = scaled.copy()
    energy = (residual * scaled).sum(axis=0)
    enough = TOLERANCE**2 * (wanted * inverse * wanted).sum(axis=0)
    for _ in range(ITERATIONS):
        if (energy <= enough).all():
            break
        image = equations @ direction
        step = energy / np.maximum((direction * image).sum(axis=0), TINY)
        found += step * direction
        residual -= step * image
        scaled = inverse * residual
        before, energy = energy, (residual * scaled).sum(axis=0)
        direction = scaled + energy / np.maximum(before, TINY) * direction
    return found
