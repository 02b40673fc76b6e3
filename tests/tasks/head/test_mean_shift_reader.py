"""Training rows after mean shift."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from stego_core.head.mean_shift import TRAINING, mean_shift, sampling_weights
from tasks.features.rows import FeatureRows, PatchCache
from tasks.head.mean_shift_reader import ShiftedImages


def test_shifted_patches_are_the_mean_shift_of_the_stored_ones(rows: FeatureRows) -> None:
    """Asked for by two threads at once and again, each row is shifted once."""
    wanted = np.array([3, 60, 3, 20, 64])
    stored = torch.from_numpy(rows.read("patches", wanted).astype(np.float32))
    moved = mean_shift(stored)
    held, streamed = (ShiftedImages(PatchCache(rows, mib)) for mib in (1024, 0))
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(held, wanted) for _ in range(8)]
    for images in [streamed(wanted), held(wanted), *(each.result() for each in found)]:
        np.testing.assert_array_equal(images.patches, moved.numpy().astype(np.float16))
        np.testing.assert_array_equal(images.weights, sampling_weights(moved, TRAINING).numpy())
