"""What masks are made with: STEGO, the raw features, or another baseline."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stego_core.masks.crf import Crf
from stego_core.masks.patch_codes import Windows
from stego_core.masks.segmenter import Scorer
from tasks.options import MasksOptions
from tasks.storage.storage import Storage


class CodeReader(Protocol):
    """What turns an image into vectors at patch resolution, of which classes are scored."""

    def codes(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """(h, w, D) float32 of an image (H, W, 3) uint8 RGB; `valid` (H, W): where it has data."""
        ...


class MaskSource(Protocol):
    """A finished method as masks are made with it; small and picklable."""

    @property
    def storage(self) -> Storage:
        """Of the workspace."""
        ...

    @property
    def options(self) -> MasksOptions:
        """How images are labelled."""
        ...

    @property
    def baseline(self) -> bool:
        """Whether its masks are there to be scored only."""
        ...

    @property
    def method(self) -> str:
        """What the progress calls a baseline; empty for others."""
        ...

    @property
    def classes(self) -> int:
        """K, how many there are."""
        ...

    def scorer(self) -> Scorer:
        """What turns its codes into log probabilities of the classes."""
        ...

    def masks_path(self, dump: str) -> str:
        """Folder of a dump's masks."""
        ...

    def document(self) -> dict[str, Any]:
        """What the masks are made with, for their manifest."""
        ...

    def memory(self, pixels: int) -> int:
        """Bytes that a worker holds at once for an image of so many pixels."""
        ...

    def build(self, device: str) -> CodeReader:
        """What reads images; built once per process."""
        ...

    def kept_codes(self, dump: str, image_id: str) -> NDArray[np.float32] | None:
        """What `build` would read of an image, where the workspace keeps it; else None."""
        ...

    def crf(self) -> Crf:
        """The refinement of the clusters' probabilities."""
        ...

    def windows(self) -> Windows:
        """In which windows images are read and refined."""
        ...
