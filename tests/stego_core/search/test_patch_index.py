"""Coded patches: what is scanned, what it says, and what is left to compare."""

from collections.abc import Iterator

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.errors import CapacityError
from stego_core.search import patch_index
from stego_core.search.patch_index import compared, first_of_each

DEPTH, COUNT, LISTS = 24, 1500, 8
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
def trained(vectors: Vectors) -> faiss.IndexIVFPQ:
    return patch_index.train(vectors, LISTS, seed=0)


@pytest.fixture(scope="module")
def index(vectors: Vectors, trained: faiss.IndexIVFPQ) -> faiss.IndexIVFPQ:
    """In three parts; every hundredth patch is left out."""
    codes, filled = trained.sa_encode(vectors), copied(trained)
    searched = np.flatnonzero(np.arange(COUNT) % 100)
    patch_index.reserve(filled, patch_index.list_numbers(trained, codes[searched]))
    for first, last in ((0, 700), (700, 701), (701, COUNT)):
        part = searched[(searched >= first) & (searched < last)]
        filled.add_sa_codes(codes[part], part)
    return filled


def copied(index: faiss.IndexIVFPQ) -> faiss.IndexIVFPQ:
    return faiss.deserialize_index(faiss.serialize_index(index))


def centroids(index: faiss.IndexIVFPQ) -> Vectors:
    return np.asarray(index.quantizer.reconstruct_n(0, index.nlist))


def centres(index: faiss.IndexIVFPQ) -> Vectors:
    """(M, 256, C / M)."""
    return np.asarray(faiss.vector_to_array(index.pq.centroids)).reshape(index.pq.M, 256, -1)


def test_a_code_names_the_nearest_centre_of_each_part(
    vectors: Vectors, trained: faiss.IndexIVFPQ
) -> None:
    codes = trained.sa_encode(vectors[:50])
    lists, units = patch_index.list_numbers(trained, codes), centroids(trained)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(lists, (vectors[:50] @ units.T).argmax(axis=1))
    parts, _, depth = centres(trained).shape
    assert codes.shape == (50, 1 + parts) == (50, 1 + DEPTH)
    left = (vectors[:50] - units[lists]).reshape(50, parts, 1, depth)
    apart = ((left - centres(trained)) ** 2).sum(axis=-1)
    chosen = np.take_along_axis(apart, codes[:, 1:, None].astype(np.int64), axis=2)[:, :, 0]
    np.testing.assert_allclose(chosen, apart.min(axis=2), atol=1e-6)


def test_a_scan_is_the_product_with_what_the_codes_stand_for(
    vectors: Vectors, index: faiss.IndexIVFPQ
) -> None:
    """Of the three nearest lists, against sums in float64, code by code."""
    codes, query, units = index.sa_encode(vectors), vectors[3], centroids(index)
    lists = patch_index.list_numbers(index, codes)
    nearest = np.argsort(-(units @ query))[:3]
    numbers, cosines = patch_index.nearest(index, query, 3, COUNT)
    expected = np.flatnonzero(np.isin(lists, nearest) & (np.arange(COUNT) % 100 != 0))
    assert sorted(numbers.tolist()) == expected.tolist()
    for number, cosine in list(zip(numbers.tolist(), cosines.tolist(), strict=True))[::29]:
        pieces = [centres(index)[m, code] for m, code in enumerate(codes[number, 1:])]
        stands_for = units[lists[number]].astype(np.float64) + np.concatenate(pieces)
        assert cosine == pytest.approx(float(stands_for @ query), abs=1e-5)


def test_all_lists_hold_every_patch_once_and_nearly_its_cosine(
    vectors: Vectors, index: faiss.IndexIVFPQ
) -> None:
    query = vectors[7]
    numbers, cosines = patch_index.nearest(index, query, index.nlist, COUNT)
    assert sorted(numbers.tolist()) == [n for n in range(COUNT) if n % 100]
    exact = vectors[numbers] @ query
    assert np.abs(cosines - exact).max() < 0.1
    assert (np.diff(cosines) <= 0).all()
    assert numbers[0] == 7


@pytest.mark.parametrize("without", [range(0, 40), range(7, 8), range(COUNT - 3, COUNT)])
def test_some_patches_are_left_out(
    vectors: Vectors, index: faiss.IndexIVFPQ, without: range
) -> None:
    whole, _ = patch_index.nearest(index, vectors[7], 3, COUNT)
    numbers, _ = patch_index.nearest(index, vectors[7], 3, COUNT, without)
    assert numbers.tolist() == [number for number in whole.tolist() if number not in without]
    few, _ = patch_index.nearest(index, vectors[7], 3, 5, without)
    assert few.tolist() == numbers.tolist()[:5]


def test_reserving_memory_adds_nothing(vectors: Vectors, trained: faiss.IndexIVFPQ) -> None:
    index = copied(trained)
    patch_index.reserve(index, np.repeat(np.arange(LISTS), 100))
    assert index.ntotal == 0
    numbers, _ = patch_index.nearest(index, vectors[0], LISTS, 5)
    assert len(numbers) == 0


@pytest.mark.parametrize("lists", [3, 256, 300])
def test_the_number_of_a_list_takes_one_byte_or_two(vectors: Vectors, lists: int) -> None:
    index = patch_index.train(vectors, lists, seed=0)
    codes = index.sa_encode(vectors)
    assert codes.shape[1] == DEPTH + (1 if lists <= 256 else 2)
    _, nearest = index.quantizer.search(vectors, 1)
    np.testing.assert_array_equal(patch_index.list_numbers(index, codes), nearest[:, 0])


@pytest.mark.parametrize("count", [1, 3, 300])
def test_few_patches_make_an_index_too(
    vectors: Vectors, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    index = patch_index.train(vectors[:count], 16, seed=0)
    index.add_sa_codes(index.sa_encode(vectors[:count]), np.arange(count))
    numbers, cosines = patch_index.nearest(index, vectors[0], index.nlist, 5)
    assert numbers[cosines.argmax()] == 0
    assert capfd.readouterr() == ("", "")  # faiss would warn of so few


def test_no_patches_make_none() -> None:
    with pytest.raises(CapacityError, match="no patches"):
        patch_index.train(np.empty((0, DEPTH), np.float32), 16, seed=0)


def test_the_same_seed_makes_the_same_bytes(vectors: Vectors) -> None:
    made = [faiss.serialize_index(patch_index.train(vectors, LISTS, seed)) for seed in (0, 0, 1)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(("channels", "parts"), [(384, 48), (192, 48), (64, 32), (33, 33), (53, 1)])
def test_a_code_takes_at_most_48_bytes(channels: int, parts: int) -> None:
    sample = np.random.default_rng(0).normal(size=(300, channels)).astype(np.float32)
    made = patch_index.train(np.asarray(unit(sample)), 16, seed=0)
    assert (made.code_size, made.pq.M, made.pq.dsub) == (parts, parts, channels // parts)


def test_lists_grow_with_the_root_of_the_patches() -> None:
    assert patch_index.list_count(40_000) == 200
    assert patch_index.list_count(1) == patch_index.LEAST_LISTS
    assert patch_index.list_count(10**9) == patch_index.MOST_LISTS


@given(st.lists(st.integers(0, 6), max_size=30))
def test_the_first_of_each_group_is_that_of_a_loop(groups: list[int]) -> None:
    expected = [place for place, group in enumerate(groups) if group not in groups[:place]]
    assert first_of_each(np.array(groups, np.int64)).tolist() == expected


def test_compared_is_the_cosine() -> None:
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(3, 5, DEPTH)).astype(np.float16)
    query = np.asarray(unit(rng.normal(size=DEPTH)), np.float32)
    slow = [
        [float(p.astype(float) @ query) / float(np.linalg.norm(p.astype(float))) for p in row]
        for row in patches
    ]
    np.testing.assert_allclose(compared(query, patches), slow, atol=1e-5)
