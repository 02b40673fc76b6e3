"""Pieces of a run: what is timed, by a clock that ticks once a call."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stego_core.errors import ImageError
from tasks.options import ComputeOptions, FeaturesOptions, HeadOptions, MasksOptions
from tasks.storage.storage import Storage
from tasks.trial.measurement import COMPARED, CPU_CROPS, STEPS, Timer, Tried, measured

FEATURES = FeaturesOptions(
    backbone="vit_tiny_patch16_224",
    weights="untrained",
    crop_size=64,
    layer=1,
    precision="float32",
)
MASKS = MasksOptions(resolution=64, crf_iterations=1)


def tried(**head: Any) -> Tried:
    return Tried(FEATURES, HeadOptions(**head), MASKS, ComputeOptions(executor="loop"))


@pytest.fixture
def images(tmp_path: Path, make_corpus: Callable[..., Path]) -> Path:
    return make_corpus(tmp_path / "corpus", 2, size=(48, 64)) / "images"


@pytest.fixture
def ticking() -> Timer:
    """Every timed call takes one second."""
    ticks = count()
    return Timer(lambda: float(next(ticks)))


def test_seconds_are_shared_among_the_parts(images: Path, ticking: Timer) -> None:
    rates = measured(Storage.at(str(images)), ["s000.png", "s001.png"], tried(), 7.0, ticking)
    assert (rates.start, rates.pixels, rates.workers) == (7.0, 48 * 64, 1)
    assert (rates.read, rates.shifts, rates.shifted, rates.codes, rates.restart) == (1,) * 5
    assert rates.crop == pytest.approx(1 / CPU_CROPS)
    assert rates.pair == pytest.approx(1 / COMPARED**2)
    assert rates.step == pytest.approx(1 / STEPS)
    assert rates.image == pytest.approx(1 / 2)
    # The CRF takes as long with many classes as with few, so all of it is the pixels'.
    assert (rates.pixel, rates.class_pixel) == pytest.approx((1 / (48 * 64), 0.0))


def test_what_the_options_leave_out_takes_no_time(images: Path, ticking: Timer) -> None:
    plain = tried(recipe="stego", shifts="0.1,0.2,0.3")
    rates = measured(Storage.at(str(images)), ["s000.png"], plain, 0.0, ticking)
    assert (rates.shifts, rates.shifted) == (0.0, 0.0)


def test_broken_images_are_passed_over(images: Path, ticking: Timer) -> None:
    (images / "broken.png").write_bytes(b"none")
    storage = Storage.at(str(images))
    rates = measured(storage, ["broken.png", "s001.png", "gone.png"], tried(), 0.0, ticking)
    assert rates.pixels == 48 * 64
    with pytest.raises(ImageError, match="none of a few"):
        measured(storage, ["broken.png"], tried(), 0.0, ticking)
