"""Inverted lists: unit vectors grouped by the centroid that they resemble most."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.kmeans import ClusterSums

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

PER_ROOT, PURE_PER_ROOT, MOST_LISTS = 3, 4, 4096
"""Lists per square root of the rows; where lists are to be ruled out, each of which should lie in
one cluster; and at most, since a table of all pairs of lists may be kept."""
SAMPLE_PER_LIST, LEAST_SAMPLE = 24, 6
"""Vectors that centroids are made from, per list of the first count and of the last."""
ROUNDS, POOL = 8, 3
"""Rounds in which first centroids are drawn, and candidates for each one that is kept."""
STEEP = 0.25
"""How fast 1 − cos must fall for more lists than `list_count`: its slope in logarithms. Where
clusters are still without a list it falls faster, and inside of them much more slowly."""
ITERATIONS = 2
"""Of k-means on the sample: lists need not be the best ones, and a third one gains little."""
SAME = 1e-5
"""Vectors as near to each other as this, in 1 − cos, may differ by rounding alone."""
SLACK = 4e-6
"""By how much squares and products of unit vectors may be off by rounding."""
BLOCK = 512
"""Vectors compared with all centroids at once."""


def list_count(rows: int, pure: bool) -> int:
    """How many lists so many rows are put into, if their clusters ask for no more."""
    per_root = PURE_PER_ROOT if pure else PER_ROOT
    return min(max(round(per_root * math.sqrt(rows)), 1), MOST_LISTS)


def centroids(sample: Vectors, lists: int, pure: bool, generator: np.random.Generator) -> Vectors:
    """Unit centroids of lists for the rows that a sample is of: cosine k-means, cut short.

    Args:
        sample: (n, C) float32 of norm 1.
        lists: how many; fewer where fewer of its vectors differ.
        pure: add more where the sample has clusters that these leave out.
        generator: draws the start.

    Returns:
        (L, C) float32.
    """
    most = max(min(len(sample) // LEAST_SAMPLE, MOST_LISTS), lists) if pure else lists
    found = _start(sample, lists, most, generator)
    for _ in range(ITERATIONS):
        sums = ClusterSums.create(*found.shape)
        for block in _blocks(sample):
            sums = sums.add(block, found)
        found = np.where((sums.counts > 0)[:, None], sums.result(), found)
    return found


def _start(sample: Vectors, lists: int, most: int, generator: np.random.Generator) -> Vectors:
    """First centroids: k-means++ in rounds, each of which keeps those that lie far apart.

    One draw for each centroid, as in `kmeans.seeds`, would read the sample as often as there are
    lists. Of many draws at once several would come from one cluster, so there are `POOL` times as
    many, and those that resemble each other and the earlier centroids least are kept.
    """
    vectors, step = torch.from_numpy(sample), -(-lists // ROUNDS)
    nearest, chosen = torch.full((len(sample),), -1.0), vectors[:0]
    slope = np.inf
    while len(chosen) < (lists if slope < STEEP else most):
        weights = (1 - nearest).double().numpy()
        weights[weights < SAME] = 0
        candidates = min(POOL * step, int(np.count_nonzero(weights)))
        if candidates == 0:
            break
        drawn = generator.choice(len(sample), candidates, replace=False, p=weights / weights.sum())
        pool = torch.from_numpy(np.sort(drawn))
        count = min(step, most - len(chosen))
        kept = vectors[pool[_apart(vectors[pool], nearest[pool], count)]]
        before, grown = float((1 - nearest).mean()), 1 + len(kept) / max(len(chosen), 1)
        for first in range(0, len(sample), BLOCK):
            some = slice(first, first + BLOCK)
            nearest[some] = nearest[some].maximum((vectors[some] @ kept.T).amax(dim=1))
        after = max(float((1 - nearest).mean()), SAME)
        slope, chosen = np.log(before / after) / np.log(grown), torch.cat([chosen, kept])
    return np.asarray(chosen.numpy())


def _apart(pool: torch.Tensor, nearest: torch.Tensor, count: int) -> list[int]:
    """Places of at most `count` vectors, each the one that resembles those before it least."""
    alike, best, kept = (pool @ pool.T).numpy(), nearest.numpy().copy(), list[int]()
    while len(kept) < count:
        place = int(best.argmin())
        if best[place] > 1 - SAME:
            break
        kept.append(place)
        np.maximum(best, alike[place], out=best)
    return kept


def nearest_lists(vectors: Vectors, centroids: Vectors, count: int = 1) -> Numbers:
    """(n, count) numbers of the lists whose centroids resemble each vector most, best first."""
    all_centroids = torch.from_numpy(centroids).T
    found = [
        (torch.from_numpy(block) @ all_centroids).topk(min(count, len(centroids))).indices.numpy()
        for block in _blocks(vectors)
    ]
    return np.concatenate([np.empty((0, min(count, len(centroids))), np.int64), *found])


def places(vectors: Vectors, centroids: Vectors, numbers: Numbers) -> Numbers:
    """At which place, from 1, each of some lists (n, r) comes for its vector of (n, C).

    A search of the p nearest lists finds what is in the lists of the places up to p.
    """
    all_centroids, found = torch.from_numpy(centroids).T, [np.empty_like(numbers[:0])]
    for first in range(0, len(vectors), BLOCK):
        products = torch.from_numpy(vectors[first : first + BLOCK]) @ all_centroids
        own = products.gather(1, torch.from_numpy(numbers[first : first + BLOCK]))
        nearer = [(products > own[:, [rank]]).sum(dim=1) for rank in range(own.shape[1])]
        found.append(1 + torch.stack(nearer, dim=1).numpy())
    return np.concatenate(found)


@dataclass
class Members:
    """What is known of the members of each list; merging is associative.

    Attributes:
        counts: (L,) int64 members.
        reach: (L,) float32 least cosine of a member with its own centroid, 1 without members.
        most: (L, L) float32, at [l, m] the greatest cosine of a member of list l with centroid m,
            −1 without members.
    """

    counts: Numbers
    reach: Vectors
    most: Vectors

    @classmethod
    def create(cls, lists: int) -> "Members":
        """Of lists without members."""
        return cls(
            np.zeros(lists, np.int64),
            np.ones(lists, np.float32),
            np.full((lists, lists), -1, np.float32),
        )

    def add(self, vectors: Vectors, centroids: Vectors) -> Numbers:
        """Include unit vectors (n, C); returns the number (n,) of each one's list."""
        found = [self._add(block, centroids) for block in _blocks(vectors)]
        return np.concatenate([np.empty(0, np.int64), *found])

    def _add(self, block: Vectors, centroids: Vectors) -> Numbers:
        products = torch.from_numpy(block) @ torch.from_numpy(centroids).T
        best, nearest = products.max(dim=1)
        numbers = nearest.numpy()
        order = np.argsort(numbers, kind="stable")
        there, first = np.unique(numbers[order], return_index=True)
        most = np.maximum.reduceat(products.numpy()[order], first, axis=0)
        self.counts += np.bincount(numbers, minlength=len(centroids))
        np.minimum.at(self.reach, numbers, best.numpy())
        self.most[there] = np.maximum(self.most[there], most)
        return numbers

    def merge(self, other: "Members") -> "Members":
        """What is known of the members of both."""
        return Members(
            self.counts + other.counts,
            np.minimum(self.reach, other.reach),
            np.maximum(self.most, other.most),
        )


@dataclass(frozen=True)
class Bounds:
    """Upper bounds on the cosines of queries with the members of each list.

    Let o be the centroid nearest to the query q, a = max(q·o, 0) and u = q − a o. A member x of the
    list with centroid c has

        q·x = a o·x + u·x ≤ a max o·x + |u| cos(max(0, ∠(u, c) − max ∠(x, c))),

    with maxima over the list's members. The second term is the triangle inequality for angles, here
    of what is left of q without o: around clusters most of a cosine comes from the centroid, and a
    bound on the whole query would rule out little.

    Attributes:
        centroids: (L, C) float32.
        counts: (L,) int64 members.
        between: (L, L) float32 cosines of centroids with each other.
        most: (L, L) float32, at [m, l] the greatest cosine of centroid m with a member of list l.
        reach: (L,) float32 least cosine of a member with its centroid.
        out: (L,) float32 the sine that belongs to it.
    """

    centroids: Vectors
    counts: Numbers
    between: torch.Tensor
    most: torch.Tensor
    reach: torch.Tensor
    out: torch.Tensor

    @classmethod
    def create(cls, centroids: Vectors, members: Members) -> "Bounds":
        """From the centroids (L, C) and all members of their lists."""
        each, reach = torch.from_numpy(centroids), torch.from_numpy(members.reach) - SLACK
        out = (1 - reach * reach + SLACK).clamp(min=0).sqrt()
        most = torch.from_numpy(members.most.T.copy())
        return cls(centroids, members.counts, each @ each.T, most, reach, out)

    def __call__(self, queries: Vectors, own: Numbers) -> Vectors:
        """(q, L) of queries (q, C), for each of which `own` (q,) is the number of its o."""
        asked, numbers = torch.from_numpy(queries), torch.from_numpy(own)
        toward = asked @ torch.from_numpy(self.centroids).T
        share = toward.gather(1, numbers[:, None]).clamp(min=0)
        toward.addcmul_(share, self.between[numbers], value=-1)
        square = ((asked * asked).sum(dim=1, keepdim=True) - share * share).clamp(min=0) + SLACK
        across = torch.addcmul(square, toward, toward, value=-1)
        across = across.clamp_(min=0).add_(SLACK).sqrt_()
        length = square.sqrt()
        far = across.mul_(self.out).addcmul_(toward, self.reach)
        rest = torch.where(toward > length * self.reach, length, far)
        return np.asarray(rest.addcmul_(share, self.most[numbers]).numpy())


def _blocks(vectors: Vectors) -> Iterator[Vectors]:
    for first in range(0, len(vectors), BLOCK):
        yield vectors[first : first + BLOCK]
