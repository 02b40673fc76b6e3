import numpy as np
from numpy.typing import NDArray

class Lattice:
    """A Gaussian filter of σ = 1 on the permutohedral lattice, symmetrically normalised."""

    def __init__(
        self, features: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> None:
        """A filter over pixels with features (N, 1 to 6), in units of σ.

        Pixels that are not `valid` (N,) take no part; None: all are.

        Raises:
            ValueError: features reach further than the lattice can number, or there are 2^25.
        """

class Smoothing:
    """A Gaussian filter over the pixels of an image, symmetrically normalised."""

    def __init__(
        self, height: int, width: int, sigma: float, valid: NDArray[np.bool_] | None = None
    ) -> None:
        """A filter of `sigma` pixels, cut off at three times that.

        Pixels that are not `valid` (height · width,) take no part; None: all are.
        """

def mean_field(
    log_probabilities: NDArray[np.float32],
    alike: tuple[Lattice, float],
    near: tuple[Smoothing, float],
    iterations: int,
) -> NDArray[np.float32]:
    """Marginals of a CRF with Potts compatibility and two weighted kernels.

    Between iterations they have 12 significant bits, and what is below 2e-6 is 0.

    Args:
        log_probabilities: (K, N) minus the unary energies, up to a constant of each pixel.
        alike: filter over the same N pixels, with its weight.
        near: likewise.
        iterations: of mean-field inference.

    Returns:
        (K, N) float32; over K they sum to 1. Pixels without data get no message.

    Raises:
        ValueError: the shapes do not fit.
    """

def decisions(marginals: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class of each pixel, and how sure it is.

    Args:
        marginals: (K, N) float32 of at most 256 classes, over K of sum 1.

    Returns:
        (2, N) uint8: the most likely class, of equal ones the first; and 255 times its probability
        less the second best's, rounded to even. Of one class only, that is 255.

    Raises:
        ValueError: there is no class, or more than 256.
    """
