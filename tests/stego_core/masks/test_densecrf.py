"""Both engines of the CRF give a scene the same classes, also beside pixels without data."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flows.demo.scenes import scene
from flows.demo.street import SCENE_CLASSES
from stego_core.backbone.vit import IMAGENET_MEAN, IMAGENET_STD
from stego_core.errors import OptionError
from stego_core.masks import densecrf
from stego_core.masks.crf import Crf
from stego_core.masks.densecrf import DenseCrf

# With Python 3.11, CI's, `make install` builds it: there it is never skipped.
pytestmark = pytest.mark.skipif(
    find_spec("pydensecrf") is None and sys.version_info >= (3, 12),
    reason="pydensecrf2 is not installed: its Cython may not know this Python",
)
SIZE = (96, 128)
Drawn = tuple[NDArray[np.float32], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Log probabilities (7, 96, 128) that name most pixels' true class, and the scene they show."""
    image, labels = scene(np.random.default_rng(3), SIZE)
    logits = np.random.default_rng(4).normal(size=(len(SCENE_CLASSES), *SIZE))
    logits += 2 * (np.arange(len(SCENE_CLASSES))[:, None, None] == labels)
    scores = logits - np.log(np.exp(logits).sum(axis=0))
    return scores.astype(np.float32), image


def test_a_scene_has_the_same_classes(drawn: Drawn) -> None:
    ours, theirs = Crf().refine(*drawn), DenseCrf().refine(*drawn)
    assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
    assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() > 0.999
    assert np.abs(ours - theirs).mean() < 1e-3
    changed = (drawn[0].argmax(axis=0) != theirs.argmax(axis=0)).mean()
    assert changed > 0.05  # it did something


def test_released_pixels_give_the_classes_of_the_published_call(drawn: Drawn) -> None:
    """The published evaluation, written from the library's documentation: BGR bytes cut off."""
    from pydensecrf.densecrf import DenseCRF2D

    scores, image = drawn
    tensor = torch.from_numpy(image).permute(2, 0, 1) / 255
    mean, std = (
        torch.tensor(IMAGENET_MEAN)[:, None, None],
        torch.tensor(IMAGENET_STD)[:, None, None],
    )
    handed = ((tensor - mean) / std * std + mean).mul(255).byte().permute(1, 2, 0).numpy()
    field = DenseCRF2D(SIZE[1], SIZE[0], len(scores))
    field.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(len(scores), -1)))
    field.addPairwiseGaussian(sxy=1, compat=3)
    field.addPairwiseBilateral(
        sxy=67, srgb=3, rgbim=np.ascontiguousarray(handed[..., ::-1]), compat=4
    )
    theirs = np.array(field.inference(10)).reshape(scores.shape).argmax(axis=0)

    def equal(crf: Crf) -> float:
        return float((crf.refine(scores, image).argmax(axis=0) == theirs).mean())

    assert equal(DenseCrf(released_pixels=True)) == 1
    assert equal(Crf(released_pixels=True)) > 0.9998
    assert equal(Crf()) < equal(Crf(released_pixels=True))


def test_parameters_mean_the_same(drawn: Drawn) -> None:
    given = {"iterations": 3, "gaussian_weight": 1.0, "bilateral_xy": 20.0, "bilateral_rgb": 9.0}
    ours, theirs = Crf(**given).refine(*drawn), DenseCrf(**given).refine(*drawn)
    assert np.abs(ours - theirs).mean() < 1e-3
    assert np.abs(ours - Crf().refine(*drawn)).mean() > 0.01


def test_pixels_without_data_take_no_part(drawn: Drawn) -> None:
    scores, image = drawn
    valid = np.ones(SIZE, np.bool_)
    valid[20:60, :50] = False
    ours = Crf().refine(scores, image, valid)
    theirs = DenseCrf().refine(scores, image, valid)
    assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() > 0.999
    np.testing.assert_allclose(theirs[:, ~valid], 1 / len(scores))
    other = image.copy()
    other[~valid] = 0
    np.testing.assert_array_equal(DenseCrf().refine(scores, other, valid), theirs)


@pytest.mark.parametrize("refiner", [Crf(iterations=0), DenseCrf(iterations=0)], ids=["own", "its"])
def test_no_iterations_leave_the_probabilities(drawn: Drawn, refiner: Crf) -> None:
    np.testing.assert_allclose(refiner.refine(*drawn), np.exp(drawn[0]), rtol=1e-6)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densecrf, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'stego-flows\[pydensecrf\]'"):
        DenseCrf()
