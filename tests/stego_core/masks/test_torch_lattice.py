"""The CRF in torch against the one in numpy: filters, marginals, pixels without data."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stego_core.masks import numpy_lattice
from stego_core.masks.crf import Crf
from stego_core.masks.densecrf import DenseCrf
from stego_core.masks.torch_lattice import Lattice, Smoothing, TorchCrf, on_device, simplices

SIZE = (24, 31)
PIXELS = SIZE[0] * SIZE[1]
ROUNDING = 1e-5


@pytest.fixture(params=[True, False], ids=["all valid", "some valid"])
def valid(request: pytest.FixtureRequest, rng: np.random.Generator) -> NDArray[np.bool_]:
    return np.full(PIXELS, True) if request.param else rng.random(PIXELS) < 0.7


def features(rng: np.random.Generator, d: int) -> NDArray[np.float32]:
    return (5 * rng.normal(size=(PIXELS, d))).astype(np.float32)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6])
class TestLattice:
    def test_simplices(self, rng: np.random.Generator, d: int) -> None:
        given = features(rng, d)
        points, weights = numpy_lattice.simplices(given)
        found = simplices(torch.from_numpy(given))
        np.testing.assert_array_equal(found[0].numpy(), points)
        np.testing.assert_allclose(found[1].numpy(), weights, atol=ROUNDING)

    def test_filter(self, rng: np.random.Generator, d: int, valid: NDArray[np.bool_]) -> None:
        given, values = features(rng, d), rng.random((PIXELS, 3)).astype(np.float32)
        found = Lattice(torch.from_numpy(given), torch.from_numpy(valid))
        expected = numpy_lattice.Lattice(given, valid).filter(values)
        np.testing.assert_allclose(
            found.filter(torch.from_numpy(values)).numpy(), expected, atol=ROUNDING
        )


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.3, 20.0])
def test_smoothing(sigma: float, rng: np.random.Generator, valid: NDArray[np.bool_]) -> None:
    values = rng.random((PIXELS, 3)).astype(np.float32)
    found = Smoothing(torch.from_numpy(valid).view(SIZE), sigma).filter(torch.from_numpy(values))
    expected = numpy_lattice.Smoothing(*SIZE, sigma, valid).filter(values)
    np.testing.assert_allclose(found.numpy(), expected, atol=ROUNDING)


def test_features_too_far_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="enlarge sigma"):
        Lattice(torch.full((1, 5), 1e6), torch.ones(1, dtype=torch.bool))


def test_marginals_are_those_of_the_cpu(rng: np.random.Generator, valid: NDArray[np.bool_]) -> None:
    image = rng.integers(0, 40, (*SIZE, 3), dtype=np.uint8)
    scores = np.log(rng.dirichlet(np.ones(5), SIZE)).transpose(2, 0, 1).astype(np.float32)
    crf = TorchCrf()
    found = crf.refine(scores, image, valid.reshape(SIZE))
    alike = numpy_lattice.Lattice(crf._appearance(image), valid)
    kernels = (alike, 4.0), (numpy_lattice.Smoothing(*SIZE, 1.0, valid), 3.0)
    expected = numpy_lattice.mean_field(scores.reshape(5, -1), *kernels, 10)
    assert (found.shape, found.dtype) == (scores.shape, np.float32)
    np.testing.assert_allclose(found.reshape(5, -1)[:, valid], expected[:, valid], atol=1e-4)
    np.testing.assert_allclose(found, Crf().refine(scores, image, valid.reshape(SIZE)), atol=1e-2)
    np.testing.assert_array_equal(crf.refine(scores, image, valid.reshape(SIZE)), found)


def test_it_is_taken_on_other_devices_with_the_same_parameters() -> None:
    crf = Crf(iterations=3, sharpness=1.5)
    assert on_device(crf, "cpu") is crf
    there = on_device(crf, "cuda:1")
    assert there == TorchCrf(iterations=3, sharpness=1.5, device="cuda:1")


def test_another_engine_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DenseCrf, "__post_init__", lambda self: None)
    crf = DenseCrf()
    assert on_device(crf, "cuda") is crf
