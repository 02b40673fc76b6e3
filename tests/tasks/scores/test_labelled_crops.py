"""The crops that linear probes are fitted to: whose labels they see, and how these are cut."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stego_core.errors import InputError
from stego_core.images.geometry import square_labels, training_crops
from tasks.features.rows import FeatureRows
from tasks.scores.labelled_crops import LabelledCrops

IMAGES, UNLABELLED = 4, 1


def test_images_without_a_label_are_left_out(rows: FeatureRows) -> None:
    labelled = LabelledCrops(rows)
    assert labelled.images.tolist() == [0, 2, 3]
    assert labelled.rows.tolist() == [row for row in range(5 * IMAGES) if row // 5 != UNLABELLED]


def test_crops_without_data_have_no_row(rows: FeatureRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureRows, "valid", lambda self: np.arange(self.total) % 5 == 2)
    labelled = LabelledCrops(rows)
    assert labelled.images.tolist() == [0, 2, 3]
    assert labelled.rows.tolist() == [2, 12, 17]


def test_labels_are_cut_like_the_crops(folder: Path, rows: FeatureRows) -> None:
    labelled = LabelledCrops(rows)
    for row in (0, 13, 19):
        ids = labelled.labels(row // 5)[row % 5]
        stored = np.asarray(Image.open(folder / f"labels/s{row // 5:03d}.png")).astype(np.int16)
        height, width = stored.shape
        h, w = height // 2, width // 2
        top, left = {
            0: (0, 0), 3: (height - h, width - w), 4: ((height - h) // 2, (width - w) // 2),
        }[row % 5]  # fmt: skip
        crop = square_labels(stored[top : top + h, left : left + w], 32)
        np.testing.assert_array_equal(ids, np.where(crop == 255, -1, crop))
        image = np.asarray(Image.open(folder / f"images/s{row // 5:03d}.png"))
        assert training_crops(image, 32, five=True)[row % 5].shape[:2] == ids.shape


def test_labels_that_nobody_trains_on(rows: FeatureRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureRows, "valid", lambda self: np.zeros(self.total, np.bool_))
    with pytest.raises(InputError, match="--no-linear-probe"):
        LabelledCrops(rows)
