"""The filters in numpy against the compiled ones, their definition, and float64."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse, special

from flows.demo.scenes import scene
from flows.demo.street import SCENE_CLASSES
from stego_core.masks import crf, numpy_lattice
from stego_core.masks.numpy_lattice import Lattice, Smoothing, decisions, mean_field, simplices

Doubles = NDArray[np.float64]

SIZE = (96, 128)
ROUNDING = 1e-6
"""Largest difference of a probability after one iteration: float32 sums in another order."""
CLOSE = 5e-5
"""The same after ten. Mean field is unstable where two classes are about equal: at single pixels
the rounding of the first iterations grows (`TestRounding`)."""
HALVES, HALVES_CLOSE = 5e-4, 5e-3
"""The same of compiled ones, which keep 12 bits between stages: 2.3e-4 and 1.7e-3 were seen."""

compiled = pytest.mark.skipif(not crf.COMPILED, reason="the lattice is not compiled here")
Floats = NDArray[np.float32]


def features(rng: np.random.Generator, count: int, d: int) -> Floats:
    return (5 * rng.normal(size=(count, d))).astype(np.float32)


def drawn(seed: int) -> tuple[Floats, NDArray[np.uint8]]:
    """Log probabilities (7, 96, 128) that name most pixels' true class, and the scene."""
    image, labels = scene(np.random.default_rng(seed), SIZE)
    logits = np.random.default_rng(seed + 1).normal(size=(len(SCENE_CLASSES), *SIZE))
    logits += 2 * (np.arange(len(SCENE_CLASSES))[:, None, None] == labels)
    return (logits - np.log(np.exp(logits).sum(axis=0))).astype(np.float32), image


@pytest.fixture
def in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Lattice, Smoothing, mean_field, decisions):
        monkeypatch.setattr(crf, kind.__name__, kind)


class TestSimplices:
    @given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 6))
    def test_vertices_weighted_are_the_pixel(self, seed: int, d: int) -> None:
        """Barycentric: weights sum to 1, are not negative, and their mean of vertices is where the
        features lie in the plane of the lattice.
        """
        given = features(np.random.default_rng(seed), 20, d)
        points, weights = simplices(given)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
        assert weights.min() > -1e-5
        expected = np.array([embedded(row) for row in given.astype(float)])[:, :d]
        found = (points * weights[..., None]).sum(axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-3)

    @given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 6))
    def test_vertices_are_points_of_the_lattice(self, seed: int, d: int) -> None:
        """All coordinates of one leave the same rest modulo d + 1, another one for each vertex."""
        points, _ = simplices(features(np.random.default_rng(seed), 20, d))
        rests = points % (d + 1)
        assert (rests == rests[..., :1]).all()
        np.testing.assert_array_equal(np.sort(rests[..., 0], axis=1), [np.arange(d + 1)] * 20)


def embedded(row: NDArray[np.float64]) -> list[float]:
    """Coordinates in the plane, by the definition: e_i = Σ_{j>i} s_j f_j − i s_i f_i."""
    d = len(row)
    scaled = [row[j] * np.sqrt(2 / 3 / ((j + 1) * (j + 2))) * (d + 1) for j in range(d)]
    return [sum(scaled[i:]) - (i * scaled[i - 1] if i else 0) for i in range(d + 1)]


@compiled
class TestAgainstTheCompiledOne:
    @pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6])
    @pytest.mark.parametrize("classes", [1, 3, 8, 9, 20, 32, 33, 70])
    def test_one_message(self, rng: np.random.Generator, d: int, classes: int) -> None:
        from stego_core.masks import _lattice

        given, valid = features(rng, 400, d), rng.random(400) < 0.9
        scores = np.log(rng.dirichlet(np.ones(classes), 400).T.astype(np.float32) + 1e-6)
        found = [
            kind.mean_field(
                scores,
                (kind.Lattice(given, valid), 3.0),
                (kind.Smoothing(16, 25, 1.3, valid), 2.0),
                1,
            )
            for kind in (numpy_lattice, _lattice)
        ]
        np.testing.assert_allclose(*found, atol=HALVES)

    def test_scores_may_lie_in_any_order_and_lack_a_constant(
        self, rng: np.random.Generator
    ) -> None:
        kernels = (crf.Lattice(features(rng, 400, 5)), 3.0), (crf.Smoothing(20, 20, 1.0), 2.0)
        scores = rng.normal(size=(9, 400)).astype(np.float32)
        expected = crf.mean_field(scores, *kernels, 3)
        for same in (np.asfortranarray(scores), np.repeat(scores, 2, axis=1)[:, ::2]):
            np.testing.assert_array_equal(crf.mean_field(same, *kernels, 3), expected)
        shifted = scores + rng.normal(scale=50, size=400).astype(np.float32)
        np.testing.assert_allclose(
            crf.mean_field(shifted, *kernels, 3), expected, atol=HALVES_CLOSE
        )

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_a_scene(self, seed: int, request: pytest.FixtureRequest) -> None:
        scores, image = drawn(seed)
        theirs = crf.Crf().refine(scores, image)
        request.getfixturevalue("in_numpy")
        ours = crf.Crf().refine(scores, image)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        off = np.abs(ours - theirs)
        assert off.max() < HALVES_CLOSE
        assert off.mean() < 1e-5
        assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() > 0.9999
        assert (scores.argmax(axis=0) != ours.argmax(axis=0)).mean() > 0.05  # it did something

    def test_pixels_without_data(self, request: pytest.FixtureRequest) -> None:
        scores, image = drawn(0)
        valid = np.ones(SIZE, np.bool_)
        valid[20:60, :50] = False
        theirs = crf.Crf().refine(scores, image, valid)
        request.getfixturevalue("in_numpy")
        assert np.abs(crf.Crf().refine(scores, image, valid) - theirs).max() < HALVES_CLOSE


def doubles(features: Floats) -> Lattice:
    """A lattice that sums in float64: the same simplices, and their weights normalised anew."""
    lattice, (_, weights) = Lattice(features), simplices(features)
    own, exactly = lattice._slice, weights.astype(np.float64).ravel()
    lattice._slice = sparse.csr_array((exactly, own.indices, own.indptr), shape=own.shape)
    answer = filtered(lattice, np.ones((lattice.pixels, 1)))
    lattice._slice.data /= np.repeat(np.sqrt(answer[:, 0]), weights.shape[1])
    return lattice


def filtered(lattice: Lattice, values: Doubles) -> Doubles:
    """Splat, blur along one axis after another, slice."""
    at = lattice._slice.T @ values
    for before, after in lattice._neighbours:
        padded = np.concatenate([at, np.zeros((1, at.shape[1]))])
        at = at + (padded[before] + padded[after]) / 2
    return np.asarray(lattice._slice @ at)


def smoothed(values: Doubles, size: tuple[int, int], sigma: float) -> Doubles:
    """(N, K) values after a Gaussian cut off at 3 σ, by its matrices of rows and of columns."""
    rows, columns = (
        np.where(abs(d) <= np.ceil(3 * sigma), np.exp(-((d / sigma) ** 2) / 2), 0)
        for d in (np.subtract.outer(np.arange(n), np.arange(n)) for n in size)
    )
    roots = np.sqrt(np.outer(rows.sum(axis=1), columns.sum(axis=1)))[..., None]
    grid = values.reshape(*size, -1) / roots
    grid = np.einsum("yr,rck,cx->yxk", rows, grid, columns, optimize=True) / roots
    return np.asarray(grid.reshape(values.shape))


def exact(scores: Floats, alike: Lattice, iterations: int, noise: float = 0) -> Doubles:
    """Marginals (K, N) in float64; `noise` is what each iteration's are off by, relatively."""
    rng, unary = np.random.default_rng(0), scores.T.astype(np.float64)
    marginals = special.softmax(unary, axis=1)
    for _ in range(iterations):
        messages = 4 * filtered(alike, marginals) + 3 * smoothed(marginals, SIZE, 1.0)
        marginals = special.softmax(unary + messages, axis=1)
        marginals = marginals * (1 + noise * rng.uniform(-1, 1, marginals.shape))
    return np.asarray(marginals.T)


class TestRounding:
    """The filters in numpy differ from float64 by float32 alone, compiled ones by their 12 bits."""

    @pytest.fixture(params=[0, 1, 2])
    def parts(self, request: pytest.FixtureRequest) -> tuple[Floats, Floats]:
        """Log probabilities (7, N) of a scene, and the features of its appearance."""
        scores, image = drawn(request.param)
        return scores.reshape(len(scores), -1), crf.Crf()._appearance(image)

    @pytest.mark.parametrize("iterations", [1, 2, 10])
    def test_marginals_are_those_of_float64(
        self, parts: tuple[Floats, Floats], iterations: int
    ) -> None:
        scores, alike = parts
        expected = exact(scores, doubles(alike), iterations)
        kernels = (Lattice(alike), 4.0), (Smoothing(*SIZE, 1.0), 3.0)
        off = np.abs(mean_field(scores, *kernels, iterations) - expected).max(axis=0)
        assert off.max() < (CLOSE if iterations == 10 else ROUNDING)
        assert (off > ROUNDING).mean() < 1e-3

    @compiled
    @pytest.mark.parametrize("iterations", [1, 2, 10])
    def test_compiled_ones_are_near(self, parts: tuple[Floats, Floats], iterations: int) -> None:
        from stego_core.masks import _lattice

        scores, alike = parts
        kernels = (_lattice.Lattice(alike), 4.0), (_lattice.Smoothing(*SIZE, 1.0), 3.0)
        found = _lattice.mean_field(scores, *kernels, iterations)
        off = np.abs(found - exact(scores, doubles(alike), iterations))
        assert off.max() < (HALVES_CLOSE if iterations == 10 else 2 * HALVES)
        assert off.mean() < 2e-5

    def test_ten_iterations_make_a_rounding_larger(self) -> None:
        """Half of the last of 12 bits in each, in float64: 3e-4 at a pixel between two classes."""
        scores, image = drawn(0)
        flat, alike = scores.reshape(len(scores), -1), doubles(crf.Crf()._appearance(image))
        half_a_bit = 2.0**-13
        once, often = (
            np.abs(exact(flat, alike, n, half_a_bit) - exact(flat, alike, n)).max() for n in (1, 10)
        )
        assert once < half_a_bit < 2 * half_a_bit < often < HALVES_CLOSE


class TestDecisions:
    @pytest.fixture(params=["numpy", pytest.param("compiled", marks=compiled)])
    def decide(self, request: pytest.FixtureRequest) -> Callable[[Floats], NDArray[np.uint8]]:
        if request.param == "numpy":
            return decisions
        from stego_core.masks import _lattice

        return _lattice.decisions

    @pytest.mark.parametrize("classes", [1, 2, 5, 256])
    @pytest.mark.parametrize("pixels", [1, 63, 64, 200])
    def test_best_and_255_times_what_second_best_leaves(
        self, decide: Callable[[Floats], NDArray[np.uint8]], classes: int, pixels: int
    ) -> None:
        rng = np.random.default_rng(classes + pixels)
        marginals = rng.dirichlet(np.full(classes, 0.1), pixels).T.astype(np.float32)
        marginals[:, ::7] = np.float32(1 / classes)  # of equal ones the first
        found = decide(marginals)
        assert (found.shape, found.dtype) == ((2, pixels), np.uint8)
        for number, own in enumerate(marginals.T.tolist()):
            best, second = sorted([*own, 0.0], reverse=True)[:2]
            assert found[0, number] == own.index(best)
            assert abs(float(found[1, number]) - 255 * (best - second)) < 0.5001

    @compiled
    def test_the_same_bytes_compiled_or_not(self) -> None:
        from stego_core.masks import _lattice

        marginals = np.random.default_rng(0).dirichlet(np.ones(7), 999).T.astype(np.float32)
        np.testing.assert_array_equal(_lattice.decisions(marginals), decisions(marginals))
        others = np.asfortranarray(marginals)
        np.testing.assert_array_equal(_lattice.decisions(others), decisions(marginals))

    @compiled
    @pytest.mark.parametrize("shape", [(0, 4), (257, 4), (4,)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        from stego_core.masks import _lattice

        with pytest.raises(ValueError, match="1 to 256 classes"):
            _lattice.decisions(np.zeros(shape, np.float32))


class TestRefused:
    def test_features_too_far_apart(self) -> None:
        with pytest.raises(ValueError, match="enlarge sigma"):
            Lattice(np.full((1, 5), 1e6, np.float32))

    @pytest.mark.parametrize("shape", [(4, 0), (4, 7), (4,)])
    def test_other_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="1 to 6"):
            Lattice(np.zeros(shape, np.float32))

    def test_filters_of_other_pixels(self) -> None:
        kernels = (Lattice(np.zeros((5, 2), np.float32)), 1.0), (Smoothing(1, 4, 1.0), 1.0)
        with pytest.raises(ValueError, match="differ in pixels"):
            mean_field(np.zeros((3, 4), np.float32), *kernels, 1)
        with pytest.raises(ValueError, match=r"\(classes, pixels\)"):
            mean_field(np.zeros(4, np.float32), *kernels, 1)


def test_it_is_taken_where_nothing_is_compiled() -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name: None if name.endswith('._lattice') else real(name)\n"
        "from stego_core.masks import crf, numpy_lattice\n"
        "assert crf.Lattice is numpy_lattice.Lattice and not crf.COMPILED\n"
        "assert crf.mean_field is numpy_lattice.mean_field\n"
        "assert 'stego_core.masks._lattice' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
