"""Seconds of stages from seconds of their parts, counted by hand."""

import json
from dataclasses import replace

import pytest

from tasks.trial.rates import EXACT_ROWS, Rates, Work, stage_seconds

RATES = Rates(
    start=10.0, read=0.5, crop=0.1, pair=1e-4, shifts=3.0, step=0.2, shifted=0.01, codes=0.02,
    restart=0.3, image=1.0, pixel=1e-6, class_pixel=1e-7, pixels=1e6, workers=2,
)  # fmt: skip
WORK = Work(images=100, sampled=60, crops=5, labelled=25, steps=400, restarts=10, spaces=3,
            classes=20)  # fmt: skip


def test_by_hand() -> None:
    """300 crops; an image is read twice (1 s), embedded (1 s), refined at 3 us a pixel (3 s)."""
    assert stage_seconds(RATES, WORK) == pytest.approx({
        "corpus": 10 + 100 * 0.5 / 2,
        "features": (60 * 0.5 + 300 * 0.1) / 2,
        "neighbors": 300**2 * 1e-4 / 2,
        "head": 3 + 300 * 0.01 + 400 * 0.2,
        "codes": 300 * 0.02 / 2,
        "k-means": 30 * 0.3 / 2,
        "clusters": 0.3,
        "masks": 100 * (1 + 1 + 3) / 2,
        "masks (raw features)": 25 * (1 + 1 + 3) / 2,
        "scores": 25 * (1 + 1) / 2,
    })  # fmt: skip


def test_lists_were_not_measured() -> None:
    many = replace(WORK, sampled=EXACT_ROWS // 5 + 1)
    assert stage_seconds(RATES, many)["neighbors"] is None
    assert stage_seconds(RATES, WORK)["neighbors"] is not None


def test_a_document() -> None:
    assert Rates.of(json.loads(json.dumps(RATES.document()))) == RATES
    with pytest.raises(KeyError):
        Rates.of({"read": 1.0})
