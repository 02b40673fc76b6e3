"""Training rows after mean shift."""

from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.head.batches import Images
from stego_core.head.mean_shift import TRAINING, mean_shift, sampling_weights
from tasks.features.rows import PatchCache


class ShiftedImages:
    """Rows after mean shift, with their patches' weights; those in memory are shifted once."""

    def __init__(self, cache: PatchCache) -> None:
        """Over a cache whose rows are shifted in place when they are first read."""
        self.cache = cache
        self.lock = Lock()
        self.weights: NDArray[np.float32] | None = None
        self.fresh = np.empty(0, np.bool_)  # rows not yet shifted
        if cache.patches is not None:
            self.weights = np.zeros(cache.patches.shape[:3], np.float32)
            self.fresh = np.ones(len(cache.patches), np.bool_)

    def __call__(self, rows: NDArray[np.int64]) -> Images:
        """Patches and weights of global rows."""
        patches, weights = self.cache.patches, self.weights
        if patches is None or weights is None:
            return shifted(self.cache(rows))
        with self.lock:  # batches that are made at the same time may share rows
            fresh = np.unique(rows[self.fresh[rows]])
            if len(fresh):
                patches[fresh], weights[fresh] = shifted(patches[fresh])
                self.fresh[fresh] = False
        return Images(patches[rows], weights[rows])


def shifted(patches: NDArray[np.float16]) -> Images:
    """Patches (n, h, w, C) of n images after `mean_shift`, and their weights."""
    with torch.inference_mode():
        moved = mean_shift(torch.from_numpy(patches.astype(np.float32)))
        weights = sampling_weights(moved, TRAINING)
    return Images(moved.numpy().astype(np.float16), weights.numpy())
