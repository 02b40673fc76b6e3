"""The dense CRF in its authors' C++ (pydensecrf), for comparisons with that implementation."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from stego_core.errors import OptionError
from stego_core.masks.crf import Crf, Mask, Pixels, Scores, positions


@dataclass(frozen=True)
class DenseCrf(Crf):
    """The same field as `Crf`, with the same parameters; probabilities differ by rounding.

    Raises:
        OptionError: pydensecrf is not installed.
    """

    def __post_init__(self) -> None:
        """Check that the library is there."""
        if find_spec("pydensecrf") is None:
            raise OptionError(
                "--crf-engine pydensecrf needs a package that is not installed; install it with "
                "`pip install 'stego-flows[pydensecrf]'`, or leave the option out"
            )

    def _marginals(self, scores: Scores, image: Pixels, data: Mask | None) -> Scores:
        from pydensecrf.densecrf import DenseCRF

        pixels = np.ones(scores.shape[1], np.bool_) if data is None else data
        near = positions(image.shape[0], image.shape[1], self.gaussian_xy)[pixels]
        alike = self._appearance(image)[pixels]
        field = DenseCRF(len(near), len(scores))  # its 2D form knows full images only
        field.setUnaryEnergy(-scores[:, pixels].astype(np.float32, order="C"))
        field.addPairwiseEnergy(np.ascontiguousarray(near.T), compat=self.gaussian_weight)
        field.addPairwiseEnergy(np.ascontiguousarray(alike.T), compat=self.bilateral_weight)
        marginals = np.empty(scores.shape, np.float32)
        marginals[:, pixels] = field.inference(self.iterations)
        return marginals
