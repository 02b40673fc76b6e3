"""Which patch to ask people about: the one whose answer is expected to change most patches.

A lesson at node i of weight c changes the equations A P = B by one rank, so by Sherman & Morrison
(1950) the solution with it is known from one column g = A⁻¹ e_i, for every answer y:

    P' = P + c g / (1 + c g_i) · (e_y − P_i)

The number of patches whose best class is another one in P', averaged over the answers by their
probabilities P_i, is the expected change. What the linear classifier of `mixed` would make of the
answer is left out. It is computed of a few nodes that are uncertain and have many like them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from stego_core.teaching.patch_graph import Rows, Vectors
from stego_core.teaching.propagation import Propagation

CANDIDATES = 24
"""Nodes whose expected change is computed."""
ANSWERS = 3
"""Most probable answers that are looked at; what the others are worth is left out."""


def margins_of(probabilities: Vectors) -> Vectors:
    """(n,) how much more probable the best of K classes (n, K) is than the second, 0 to 1."""
    if probabilities.shape[1] == 1:
        return np.ones(len(probabilities), np.float32)
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0], np.float32)


def joined_to(smooth: sparse.csr_array, nodes: Rows) -> NDArray[np.bool_]:
    """(n,) which nodes are some nodes, or joined to one, by the graph's Laplacian (n, n)."""
    found = np.zeros(smooth.shape[0], np.bool_)
    found[nodes] = True
    found[smooth[nodes].indices] = True
    return found


def candidates(
    margins: Vectors,
    spreading: Propagation,
    excluded: NDArray[np.bool_],
    most: int = CANDIDATES,
) -> Rows:
    """Nodes that are uncertain and have many like them, no two of them joined, the best first.

    The score is 1 − margin, times the sum of a node's weights.

    Args:
        margins: (n,) of the nodes.
        excluded: (n,) nodes that are not looked at.
    """
    degree = spreading.smooth.diagonal() - spreading.kept
    score = np.where(excluded, -np.inf, (1 - margins) * degree)
    found: list[int] = []
    while len(found) < most:
        node = int(score.argmax())
        if score[node] == -np.inf:
            break
        found.append(node)
        score[joined_to(spreading.smooth, np.array([node]))] = -np.inf
    return np.array(found, np.int64)


def expected_changes(
    probabilities: Vectors, influence: Vectors, nodes: Rows, pull: float
) -> Vectors:
    """How many nodes are expected to have another best class once one is answered, of each.

    Args:
        probabilities: (n, K) of all nodes.
        influence: (n, m) columns of the inverse of the equations, of the nodes that are asked.
        nodes: (m,) these.
        pull: c, what a lesson weighs.

    Returns:
        (m,) float32.
    """
    margins, best = margins_of(probabilities), probabilities.argmax(axis=1)
    found = np.zeros(len(nodes), np.float32)
    for column, node in enumerate(nodes.tolist()):
        moved = np.float32(pull) * influence[:, column]
        moved /= 1 + moved[node]
        near = np.flatnonzero(margins <= 2 * moved)  # the others stay what they are
        own = probabilities[node]
        for answer in np.argsort(-own, kind="stable")[:ANSWERS].tolist():
            step = -own.copy()
            step[answer] += 1
            after = probabilities[near] + moved[near, None] * step
            found[column] += own[answer] * np.count_nonzero(after.argmax(axis=1) != best[near])
    return found
