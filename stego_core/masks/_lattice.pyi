from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class Lattice:
    """A Gaussian filter of σ = 1 on the permutohedral lattice, symmetrically normalised."""

    def __init__(self, features: NDArray[np.float32]) -> None:
        """A filter over pixels with features (N, 1 to 6), in units of σ.

        Raises:
            ValueError: features reach further than the lattice can number.
        """

def mean_field(
    log_probabilities: NDArray[np.float32],
    kernels: Sequence[tuple[Lattice, float]],
    iterations: int,
) -> NDArray[np.float32]:
    """Marginals of a CRF with Potts compatibility, the kernels of its messages weighted.

    Args:
        log_probabilities: (K, N) minus the unary energies.
        kernels: filters over the same N pixels, with their weights.
        iterations: of mean-field inference.

    Returns:
        (K, N) float32; over K they sum to 1.

    Raises:
        ValueError: the shapes do not fit.
    """
