"""Refinement of class maps with a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydensecrf import densecrf

SHARPNESS = 2.0
"""Factor of the cosine before the softmax over clusters, as in STEGO."""


@dataclass(frozen=True)
class Crf:
    """Parameters of the dense CRF; the defaults are STEGO's.

    Attributes:
        iterations: mean-field iterations; 0 leaves the input as it is.
        gaussian_xy: σ of the smoothness kernel, pixels.
        gaussian_weight: its weight (Potts).
        bilateral_xy: σ of the appearance kernel's position, pixels.
        bilateral_rgb: σ of its colour, levels of 0–255.
        bilateral_weight: its weight (Potts).
        sharpness: of the unary −log softmax(sharpness · cos(code, centroid)).
    """

    iterations: int = 10
    gaussian_xy: float = 1.0
    gaussian_weight: float = 3.0
    bilateral_xy: float = 67.0
    bilateral_rgb: float = 3.0
    bilateral_weight: float = 4.0
    sharpness: float = SHARPNESS

    def refine(
        self, log_probabilities: NDArray[np.float32], image: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Marginals after mean-field inference with unary −log p.

        Args:
            log_probabilities: (K, H, W) float32.
            image: (H, W, 3) uint8 RGB of the same size.

        Returns:
            (K, H, W) float32; over K they sum to 1.
        """
        classes, height, width = log_probabilities.shape
        if self.iterations == 0 or classes == 1:
            return np.exp(log_probabilities)
        field = densecrf.DenseCRF2D(width, height, classes)
        field.setUnaryEnergy(np.ascontiguousarray(-log_probabilities.reshape(classes, -1)))
        field.addPairwiseGaussian(sxy=self.gaussian_xy, compat=self.gaussian_weight)
        field.addPairwiseBilateral(
            sxy=self.bilateral_xy,
            srgb=self.bilateral_rgb,
            rgbim=np.require(image, np.uint8, ["C", "W"]),  # it refuses read-only arrays
            compat=self.bilateral_weight,
        )
        marginals = np.asarray(field.inference(self.iterations), np.float32)
        return marginals.reshape(classes, height, width)
