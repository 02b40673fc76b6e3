"""The lattice in numpy against the compiled one, against its definition, and against float64."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse, special

from flows.demo.scenes import scene
from flows.demo.street import SCENE_CLASSES
from stego_core.masks import crf
from stego_core.masks.numpy_lattice import Lattice, mean_field, simplices

Doubles = NDArray[np.float64]

SIZE = (96, 128)
ROUNDING = 1e-6
"""Largest difference of a probability after one iteration: float32 sums in another order."""
CLOSE = 5e-5
"""The same after ten. Mean field is unstable where two classes are about equal: at single pixels
the rounding of the first iterations, 3e-7, grows to 3e-5 (`TestRounding`)."""

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
def in_numpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(crf, "Lattice", Lattice)
    monkeypatch.setattr(crf, "mean_field", mean_field)
    crf.smoothness.cache_clear()
    yield
    crf.smoothness.cache_clear()


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
    @pytest.mark.parametrize("classes", [1, 3, 20])
    def test_one_message(self, rng: np.random.Generator, d: int, classes: int) -> None:
        from stego_core.masks import _lattice

        given = features(rng, 400, d)
        scores = np.log(rng.dirichlet(np.ones(classes), 400).T.astype(np.float32) + 1e-6)
        theirs = _lattice.mean_field(scores, [(_lattice.Lattice(given), 3.0)], 1)
        ours = mean_field(scores, [(Lattice(given), 3.0)], 1)
        np.testing.assert_allclose(ours, theirs, atol=ROUNDING)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_a_scene(self, seed: int, request: pytest.FixtureRequest) -> None:
        scores, image = drawn(seed)
        theirs = crf.Crf().refine(scores, image)
        request.getfixturevalue("in_numpy")
        ours = crf.Crf().refine(scores, image)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        off = np.abs(ours - theirs).max(axis=0)
        assert off.max() < CLOSE
        assert (off > ROUNDING).mean() < 1e-3
        assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() > 0.9999
        assert (scores.argmax(axis=0) != ours.argmax(axis=0)).mean() > 0.05  # it did something

    def test_pixels_without_data(self, request: pytest.FixtureRequest) -> None:
        scores, image = drawn(0)
        valid = np.ones(SIZE, np.bool_)
        valid[20:60, :50] = False
        theirs = crf.Crf().refine(scores, image, valid)
        request.getfixturevalue("in_numpy")
        assert np.abs(crf.Crf().refine(scores, image, valid) - theirs).max() < CLOSE


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


def exact(
    scores: Floats, kernels: list[tuple[Lattice, float]], iterations: int, noise: float = 0
) -> Doubles:
    """Marginals (K, N) in float64; `noise` is what each iteration's are off by, relatively."""
    rng, unary = np.random.default_rng(0), scores.T.astype(np.float64)
    marginals = special.softmax(unary, axis=1)
    for _ in range(iterations):
        messages = sum(weight * filtered(lattice, marginals) for lattice, weight in kernels)
        marginals = special.softmax(unary + messages, axis=1)
        marginals = marginals * (1 + noise * rng.uniform(-1, 1, marginals.shape))
    return np.asarray(marginals.T)


@compiled
class TestRounding:
    """Both lattices differ from float64 by float32 alone."""

    @pytest.fixture(params=[0, 1, 2])
    def parts(self, request: pytest.FixtureRequest) -> tuple[Floats, list[tuple[Floats, float]]]:
        """Log probabilities (7, N) of a scene, and the features of both kernels."""
        scores, image = drawn(request.param)
        model = crf.Crf()
        near, alike = crf.positions(*SIZE, model.gaussian_xy), model._appearance(image)
        kernels = [(alike, model.bilateral_weight), (near, model.gaussian_weight)]
        return np.ascontiguousarray(scores.reshape(len(scores), -1)), kernels

    @pytest.mark.parametrize(("iterations", "largest"), [(1, ROUNDING), (2, ROUNDING), (10, CLOSE)])
    def test_marginals_are_those_of_float64(
        self,
        parts: tuple[Floats, list[tuple[Floats, float]]],
        iterations: int,
        largest: float,
    ) -> None:
        from stego_core.masks import _lattice

        scores, kernels = parts
        slow = [(doubles(features), weight) for features, weight in kernels]
        expected = exact(scores, slow, iterations)
        for kind, refine in ((Lattice, mean_field), (_lattice.Lattice, _lattice.mean_field)):
            found = refine(scores, [(kind(f), weight) for f, weight in kernels], iterations)
            off = np.abs(found - expected).max(axis=0)
            assert off.max() < largest
            assert (off > ROUNDING).mean() < 1e-3

    def test_ten_iterations_make_a_rounding_larger(self) -> None:
        """Half a bit of float32 in each, in float64: up to 4e-6 at a pixel between two classes."""
        scores, image = drawn(0)
        model, flat = crf.Crf(), scores.reshape(len(scores), -1)
        features = (model._appearance(image), 4.0), (crf.positions(*SIZE, 1.0), 3.0)
        kernels = [(doubles(each), weight) for each, weight in features]
        half_a_bit = 2.0**-24
        once, often = (
            np.abs(exact(flat, kernels, n, half_a_bit) - exact(flat, kernels, n)).max()
            for n in (1, 10)
        )
        assert once < half_a_bit < 1e-6 < often < CLOSE


class TestRefused:
    def test_features_too_far_apart(self) -> None:
        with pytest.raises(ValueError, match="enlarge sigma"):
            Lattice(np.full((1, 5), 1e6, np.float32))

    @pytest.mark.parametrize("shape", [(4, 0), (4, 7), (4,)])
    def test_other_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="1 to 6"):
            Lattice(np.zeros(shape, np.float32))

    def test_a_lattice_of_other_pixels(self) -> None:
        lattice = Lattice(np.zeros((5, 2), np.float32))
        with pytest.raises(ValueError, match="differ in pixels"):
            mean_field(np.zeros((3, 4), np.float32), [(lattice, 1.0)], 1)
        with pytest.raises(ValueError, match=r"\(classes, pixels\)"):
            mean_field(np.zeros(4, np.float32), [(lattice, 1.0)], 1)


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
