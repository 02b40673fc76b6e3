"""Coded patches: what is scanned, what it says, and what is left to compare."""

from collections.abc import Iterator

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core import patchsearch
from stego_core.errors import CapacityError
from stego_core.kmeans import unit
from stego_core.patchsearch import NOWHERE, Codebook, PatchIndex, best_groups, compared

DEPTH, COUNT, CELLS = 24, 1500, 8
Vectors = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Unit vectors around thirty directions."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, DEPTH))
    each = centres[rng.integers(0, 30, COUNT)] + 0.5 * rng.normal(size=(COUNT, DEPTH))
    return np.asarray(unit(each), np.float32)


@pytest.fixture(scope="module")
def codebook(vectors: Vectors) -> Codebook:
    return Codebook.create(vectors, CELLS, np.random.default_rng(0))


@pytest.fixture(scope="module")
def index(vectors: Vectors, codebook: Codebook) -> PatchIndex:
    """In three parts; every hundredth patch is left out."""
    cells, codes = codebook.encode(vectors)
    cells[::100] = NOWHERE
    parts = [(cells[a:b], codes[a:b], a) for a, b in ((0, 700), (700, 701), (701, COUNT))]
    return PatchIndex.create(codebook, np.bincount(cells[cells >= 0], minlength=CELLS), parts)


def test_a_code_names_the_nearest_centre_of_each_part(vectors: Vectors, codebook: Codebook) -> None:
    cells, codes = codebook.encode(vectors[:50])
    np.testing.assert_array_equal(cells, (vectors[:50] @ codebook.centroids.T).argmax(axis=1))
    parts, _, depth = codebook.centres.shape
    assert codes.shape == (50, parts) == (50, DEPTH)
    left = (vectors[:50] - codebook.centroids[cells]).reshape(50, parts, 1, depth)
    apart = ((left - codebook.centres) ** 2).sum(axis=-1)
    chosen = np.take_along_axis(apart, codes[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    np.testing.assert_allclose(chosen, apart.min(axis=2), atol=1e-6)


def test_a_scan_is_the_product_with_what_the_codes_stand_for(
    vectors: Vectors, codebook: Codebook, index: PatchIndex
) -> None:
    """Against sums in float64, code by code."""
    cells, codes = codebook.encode(vectors)
    query = vectors[3]
    wanted = index.nearest_cells(query)[:3]
    numbers, cosines = index.scan(query, wanted)
    expected = np.flatnonzero(np.isin(cells, wanted) & (np.arange(COUNT) % 100 != 0))
    assert sorted(numbers.tolist()) == expected.tolist()
    for number, cosine in list(zip(numbers.tolist(), cosines.tolist(), strict=True))[::29]:
        pieces = [codebook.centres[m, code] for m, code in enumerate(codes[number])]
        stands_for = codebook.centroids[cells[number]].astype(np.float64) + np.concatenate(pieces)
        assert cosine == pytest.approx(float(stands_for @ query), abs=1e-5)


def test_all_cells_hold_every_patch_once_and_nearly_its_cosine(
    vectors: Vectors, index: PatchIndex
) -> None:
    query = vectors[7]
    numbers, cosines = index.scan(query, index.nearest_cells(query))
    assert sorted(numbers.tolist()) == [n for n in range(COUNT) if n % 100]
    exact = vectors[numbers] @ query
    assert np.abs(cosines - exact).max() < 0.1
    assert numbers[cosines.argmax()] == 7


def test_cells_come_by_falling_cosine(index: PatchIndex, vectors: Vectors) -> None:
    order = index.nearest_cells(vectors[5])
    cosines = index.codebook.centroids[order] @ vectors[5]
    assert sorted(order.tolist()) == list(range(CELLS))
    assert (np.diff(cosines) <= 0).all()


@pytest.mark.parametrize("count", [1, 3, 300])
def test_few_patches_make_a_codebook_too(vectors: Vectors, count: int) -> None:
    codebook = Codebook.create(vectors[:count], 16, np.random.default_rng(0))
    cells, codes = codebook.encode(vectors[:count])
    part = [(cells, codes, 0)]
    made = PatchIndex.create(codebook, np.bincount(cells, minlength=len(codebook.centroids)), part)
    numbers, cosines = made.scan(vectors[0], made.nearest_cells(vectors[0]))
    assert numbers[cosines.argmax()] == 0


def test_no_patches_make_none() -> None:
    with pytest.raises(CapacityError, match="no patches"):
        Codebook.create(np.empty((0, DEPTH), np.float32), 16, np.random.default_rng(0))


def test_more_patches_than_numbers_are_refused(codebook: Codebook, vectors: Vectors) -> None:
    cells, codes = codebook.encode(vectors[:2])
    counts = np.bincount(cells, minlength=CELLS)
    with pytest.raises(CapacityError, match="search fewer dumps"):
        PatchIndex.create(codebook, counts, [(cells, codes, 2**32 - 2)])


@pytest.mark.parametrize(("channels", "parts"), [(384, 48), (192, 48), (64, 32), (33, 33), (53, 1)])
def test_a_code_takes_at_most_48_bytes(channels: int, parts: int) -> None:
    sample = np.random.default_rng(0).normal(size=(300, channels)).astype(np.float32)
    made = Codebook.create(np.asarray(unit(sample)), 16, np.random.default_rng(0))
    assert made.centres.shape == (parts, 256, channels // parts)


def test_cells_grow_with_the_root_of_the_patches() -> None:
    assert patchsearch.cell_count(40_000) == 200
    assert patchsearch.cell_count(1) == patchsearch.LEAST_CELLS
    assert patchsearch.cell_count(10**9) == patchsearch.MOST_CELLS


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 3)), max_size=30),
    st.integers(1, 9),
)
def test_best_groups_are_those_of_a_loop(pairs: list[tuple[int, int]], count: int) -> None:
    groups = np.array([group for group, _ in pairs], np.int64)
    values = np.array([value for _, value in pairs], np.float32)
    found, places = best_groups(groups, values, count)
    best = {g: max(v for h, v in pairs if h == g) for g, _ in pairs}
    assert sorted((best[g] for g in found.tolist()), reverse=True) == [best[g] for g in found]
    assert [best[g] for g in found.tolist()] == sorted(best.values(), reverse=True)[:count]
    assert len(set(found.tolist())) == len(found)
    assert groups[places].tolist() == found.tolist()
    assert values[places].tolist() == [best[g] for g in found.tolist()]


def test_compared_is_the_cosine() -> None:
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(3, 5, DEPTH)).astype(np.float16)
    query = np.asarray(unit(rng.normal(size=DEPTH)), np.float32)
    slow = [
        [float(p.astype(float) @ query) / float(np.linalg.norm(p.astype(float))) for p in row]
        for row in patches
    ]
    np.testing.assert_allclose(compared(query, patches), slow, atol=1e-5)
