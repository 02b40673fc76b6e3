"""The segmenter that a finished workspace holds: built from keys, anywhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stego_core.images.geometry import MAX_ASPECT
from stego_core.masks.crf import COMPILED, Crf
from stego_core.masks.densecrf import DenseCrf
from stego_core.masks.patch_codes import PIXELS_AT_ONCE, WIDER, Windows
from stego_core.masks.segmenter import Scorer, Segmenter, scorer
from stego_core.masks.torch_lattice import on_device
from tasks.features import backbones
from tasks.head import heads
from tasks.images.decoding_memory import reading_memory
from tasks.log import Log
from tasks.options import MasksOptions
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

COARSE = 5 / 7
"""Short side of the mirrored twin over the image's; see docs/notes/quality.md."""
MASKS_VERSION = 11
"""Raised whenever the same options would give other masks, margins or tables."""
ENGINES: dict[str, type[Crf]] = {"lattice": Crf, "pydensecrf": DenseCrf}
"""Implementations of the CRF, by the option `crf_engine`."""
CRF_BYTES = {"lattice": (850, 17) if COMPILED else (1110, 112), "pydensecrf": (740, 80)}
"""Bytes of a pixel in each of them: always, and for each class."""
NOT_COMPILED = (
    "the CRF's lattice is not compiled in this installation: numpy computes the same, in about "
    "ten times the time, and torch computes attention on CPUs with AMX; install g++ and Python's "
    "headers, then stego-flows again"
)
log = Log(__name__)


@dataclass(frozen=True)
class SegmenterSpec:
    """What a segmenter is made of; small and picklable."""

    storage: Storage
    backbone: backbones.BackboneSpec
    head_key: str
    clusters_key: str
    options: MasksOptions
    space: str = heads.CODES

    @remembered(4)
    def centroids(self) -> NDArray[np.float32]:
        """(K, D) float32 unit vectors."""
        path = f"{layout.clusters(self.clusters_key)}/{layout.CENTROIDS_FILE}"
        return tables.read_tensors(self.storage, path)["centroids"]

    @property
    def base(self) -> "SegmenterSpec":
        """Itself; of a taught model, the segmenter of what was taught."""
        return self

    @property
    def classes(self) -> int:
        """K."""
        return len(self.centroids())

    def scorer(self) -> Scorer:
        """Scores of the clusters."""
        return scorer(self.centroids(), self.crf())

    @property
    def baseline(self) -> bool:
        """Whether the masks are there to be scored only: those of the raw features."""
        return self.head_key == heads.IDENTITY

    @property
    def method(self) -> str:
        """What the progress calls a baseline; empty for others."""
        return "raw features" if self.baseline else ""

    def masks_path(self, dump: str) -> str:
        """Folder of a dump's masks."""
        return layout.masks(masks_key(self.clusters_key, self.options), dump)

    def document(self) -> dict[str, Any]:
        """What the masks are made with, for their manifest."""
        return {
            "inputs": {"clusters": self.clusters_key, "head": self.head_key},
            "backbone": self.backbone.document(),
        }

    def memory(self, pixels: int) -> int:
        """Bytes that a worker holds at once for an image of so many pixels."""
        refining = predicted_memory(pixels, self.classes, self.options)
        tokens = tokens_at_once(self.options, self.backbone.patch)
        return backbones.backbone_memory(self.backbone, tokens, refining)

    def build(self, device: str) -> Segmenter:
        """The segmenter; backbone and head are built once per process."""
        backbone = backbones.load_backbone(self.storage, self.backbone, device)
        return Segmenter(
            backbone,
            self.head(device),
            self.centroids(),
            on_device(self.crf(), backbone.device),
            self.windows(),
        )

    def head(self, device: str) -> nn.Module:
        """What makes the vectors that the centroids are compared with."""
        return heads.load_space(self.storage, self.head_key, self.space, device)

    def kept_codes(self, dump: str, image_id: str) -> None:
        """None: what is kept of an image is there for taught models."""
        return None

    def of_codes(self) -> "SegmenterSpec":
        """The same where the head's codes alone are wanted, whatever was clustered."""
        return replace(self, space=heads.CODES)

    def crf(self) -> Crf:
        """The CRF of these options; a sharpness that is not given is log K.

        Then a pixel whose code is its centroid's, at right angles to all others, begins with a
        probability of one half or little more, however many clusters there are.
        """
        given = self.options.sharpness
        sharpness = math.log(self.classes) if given is None else given
        return replace(refiner(self.options), sharpness=sharpness)

    def windows(self) -> Windows:
        """The windows of these options."""
        o = self.options
        coarse = round(COARSE * o.resolution) if o.views == "scales" else None
        return Windows(o.resolution, o.tile, o.tile_overlap, o.crf_tile, o.crf_overlap, coarse)


def segmenter_spec(workspace: Workspace, clusters_key: str, options: MasksOptions) -> SegmenterSpec:
    """The segmenter of a finished clusters folder; of a taught one, that of what was taught."""
    clusters = workspace.folder(layout.clusters(clusters_key)).manifest()
    clusters_key = untaught_key(clusters_key, clusters)
    return SegmenterSpec(
        workspace.storage,
        backbones.BackboneSpec(**clusters["backbone"]),
        clusters["inputs"]["head"],
        clusters_key,
        options,
        clusters.get("space", heads.CODES),  # imported ones state none
    )


def untaught_key(clusters_key: str, manifest: Mapping[str, Any]) -> str:
    """Key of the clusters that a folder of taught ones came from; of others their own."""
    return str(manifest.get("inputs", {}).get("clusters", clusters_key))


def untaught_clusters(workspace: Workspace, clusters_key: str | None) -> str | None:
    """The same of clusters of which the key alone is known; None for None."""
    if clusters_key is None:
        return None
    manifest = workspace.folder(layout.clusters(clusters_key)).manifest_or_none()
    return untaught_key(clusters_key, manifest or {})


def refiner(options: MasksOptions) -> Crf:
    """The CRF of some options, but for its sharpness.

    Raises:
        OptionError: its package is not installed.
    """
    return ENGINES[options.crf_engine](
        iterations=options.crf_iterations, released_pixels=options.crf_pixels == "released"
    )


def tell_if_slow(options: MasksOptions) -> None:
    """Log a warning if these options' CRF is slower here than it could be."""
    if options.crf_engine == "lattice" and options.crf_iterations and not COMPILED:
        log.warning(NOT_COMPILED)


def masks_key(clusters_key: str, options: MasksOptions) -> str:
    """Key of the masks made with these clusters."""
    content = options.model_copy(update={"overlays": True})  # they change no mask
    return keys.key("masks", MASKS_VERSION, content, {"clusters": clusters_key})


def tokens_at_once(options: MasksOptions, patch: int) -> int:
    """Patches that the backbone reads at once, at most: windows, and their mirrored twins."""
    together, wider = (2, 1) if options.views == "mirror" else (1, WIDER)
    image = 2 * MAX_ASPECT * options.resolution**2  # its windows overlap
    window = (wider * options.tile) ** 2
    return together * min(max(window, PIXELS_AT_ONCE), image) // patch**2


def predicted_memory(pixels: int, classes: int, options: MasksOptions) -> int:
    """Bytes that a worker holds at once for an image of so many pixels.

    They are the image, and the next one while it is decoded; 12 bytes a pixel for mask, margins,
    overlay and their encoding; and the CRF. The lattice was measured at 180 to 770 bytes a pixel
    of its window on a photograph, at 850 to 1640 on noise, whose colours share no vertex (5 to 60
    classes at 512×512), in numpy at 1020 to 2010 and at 1390 to 7010, pydensecrf at 530 to 2090 and
    at 1030 to 4590; this predicts a tenth more than that, and the scores that go into it.
    """
    window = min(pixels, options.crf_tile**2)
    fixed, each_class = CRF_BYTES[options.crf_engine]
    return reading_memory(pixels) + 12 * pixels + window * (fixed + each_class * classes)
