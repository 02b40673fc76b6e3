"""A process that tries a few images, and what it answers."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.explorer.home.run_request import Order, RunRequest, Setup
from flows.explorer.times.estimates import COMMAND
from tasks.trial.rates import Rates

TINY = {"backbone": "vit_tiny_patch16_224", "weights": "untrained"}
QUICK = {
    "features": {"crop_size": 64, "layer": 1, "precision": "float32"},
    "masks": {"resolution": 64, "crf_iterations": 1},
    "compute": {"executor": "loop"},
}


def order(images: Path, **more: Any) -> Order:
    return Setup("/ws", {**QUICK, **more}).order(RunRequest(images=str(images), **TINY))


@pytest.fixture
def images(tmp_path: Path, make_corpus: Callable[..., Path]) -> Path:
    return make_corpus(tmp_path / "corpus", 2, size=(48, 64)) / "images"


def tried(asked: Order, *paths: str) -> dict[str, Any]:
    """What the process answers."""
    sent = json.dumps({"order": asked.document(), "images": paths})
    done = subprocess.run(COMMAND, input=sent, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.long
def test_a_process_of_its_own(images: Path, tmp_path: Path) -> None:
    rates = Rates.of(tried(order(images), "s000.png", "s001.png"))
    assert min(rates.start, rates.crop, rates.step, rates.image, rates.pixel) > 0
    assert "error" in tried(order(tmp_path / "none"), "s000.png")
    assert [each.name for each in tmp_path.iterdir()] == ["corpus"]
