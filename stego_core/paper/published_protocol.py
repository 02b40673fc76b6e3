"""The data sets of STEGO's paper: classes, label values, crops, hyper-parameters, figures.

Sources: Hamilton et al. 2022 (tables 1 to 3, appendix A.9) and its released configuration and
loaders; the data sets' own documentation for label values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Literal, NamedTuple

from stego_core.errors import OptionError
from stego_core.labels.taxonomy import Taxonomy
from stego_core.labels.void import VOID, VOID_BYTE

Split = Literal["train", "val"]
VIT_S8, VIT_B8 = "vit_small_patch8_224", "vit_base_patch8_224"
TRAIN_SIDE, EVALUATION_SIDE = 224, 320
"""Pixels of the squares that are trained on and evaluated at."""


class PaperRow(NamedTuple):
    """One row of the published tables, all in percent; None where nothing is published."""

    system: str
    backbone: str
    accuracy: float | None = None
    miou: float | None = None
    linear_accuracy: float | None = None
    linear_miou: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """A data set and how STEGO was trained and evaluated on it.

    Attributes:
        form: how it lies on disk.
        stored: classes, and which of them each stored label value means.
        lists: of each split, the file that names its images; empty where the folders do.
        five_crops: train on five half-size crops of each image, else on the whole image.
        backbone: timm's name of the published backbone's architecture.
        code_size: D, depth of the codes.
        shifts: of each architecture, the preset of loss weights and shifts that was published.
        published: the tables' rows.
    """

    name: str
    form: Literal["cocostuff", "cityscapes", "potsdam"]
    stored: Taxonomy
    lists: Mapping[Split, str] = field(default_factory=dict)
    five_crops: bool = True
    backbone: str = VIT_S8
    code_size: int = 70
    shifts: Mapping[str, str] = field(default_factory=dict)
    published: tuple[PaperRow, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the index is the class id."""
        return self.stored.classes


THINGS = (
    (9, 1), (11, 8), (8, 6), (7, 10), (6, 8), (10, 10),
    (5, 8), (2, 10), (3, 10), (0, 6), (1, 6), (4, 8),
)  # fmt: skip
"""Coarse class and number of consecutive fine ids, from id 0: COCO's things in their order."""
STUFF = (
    17, 17, 22, 20, 20, 22, 15, 25, 16, 13, 12, 12, 17, 17, 23, 15, 15, 17, 15, 21, 15, 25, 13,
    13, 13, 13, 13, 22, 26, 14, 14, 15, 22, 21, 21, 24, 20, 22, 15, 17, 16, 15, 22, 24, 21, 17,
    25, 16, 21, 17, 22, 16, 21, 21, 25, 21, 26, 21, 24, 20, 17, 14, 21, 26, 15, 23, 20, 21, 24,
    15, 24, 22, 25, 15, 20, 17, 17, 22, 14, 18, 18, 18, 18, 18, 18, 18, 26, 26, 19, 19, 24,
)  # fmt: skip
"""Coarse class of the stuff that follows, in alphabetical order of its 91 names."""
COARSE = (*chain.from_iterable(repeat(coarse, count) for coarse, count in THINGS), *STUFF)
COARSE_NAMES = (
    "electronic", "appliance", "food", "furniture", "indoor", "kitchen", "accessory", "animal",
    "outdoor", "person", "sports", "vehicle", "ceiling", "floor", "food (raw)",
    "furniture (stuff)", "raw material", "textile", "wall", "window", "building", "ground",
    "plant", "sky", "solid", "structural", "water",
)  # fmt: skip
FIRST_STUFF = 12
"""The first coarse class of stuff."""
SKY_PLANT_GROUND = (23, 22, 21)


def coco_taxonomy(name: str, coarse: tuple[int, ...]) -> Taxonomy:
    """COCO-Stuff's fine ids to some of the 27 coarse classes, in this order; the rest is void."""
    ids = tuple(coarse.index(cls) if cls in coarse else VOID for cls in COARSE)
    return Taxonomy(name, tuple(COARSE_NAMES[cls] for cls in coarse), VOID_BYTE, ids)


CITYSCAPES_NAMES = (
    "road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail",
    "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan", "trailer", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
FIRST_CITYSCAPES_ID = 7
POTSDAM_NAMES = ("roads and cars", "buildings and clutter", "vegetation and trees")
POTSDAM_COARSE = (0, 1, 2, 2, 0, 1)

FULL = "Coco164kFull_Stuff_Coarse.txt"
FINE = "Coco164kFull_Stuff_Coarse_7.txt"
FEW = "Coco164kFew_Stuff_6.txt"
PICIE, SMOOSEG = "PiCIE (CVPR 2021)", "SmooSeg (2023)"
EAGLE, CAUSE = "EAGLE (2024)", "CAUSE-TR (2023)"
S8, B8, DINOV2 = "DINO ViT-S/8", "DINO ViT-B/8", "DINOv2 ViT-B/14"
RESNET = "ResNet-18, trained with ImageNet's labels"

COCOSTUFF27 = Benchmark(
    "cocostuff27",
    "cocostuff",
    coco_taxonomy("cocostuff27", tuple(range(len(COARSE_NAMES)))),
    {"train": FULL, "val": FINE},
    shifts={VIT_S8: "cocostuff27-s8", VIT_B8: "cocostuff27-b8"},
    published=(
        PaperRow("STEGO", S8, 48.3, 24.5, 74.4, 38.3),
        PaperRow("STEGO", B8, 56.9, 28.2, 76.1, 41.0),
        PaperRow(PICIE, RESNET, 50.3, 15.0),
        PaperRow(SMOOSEG, S8, 63.2, 26.7),
        PaperRow(EAGLE, S8, 64.2, 27.2, 76.8, 43.9),
        PaperRow(CAUSE, DINOV2, 78.0, 45.3),
    ),
)
COCOSTUFF15 = Benchmark(
    "cocostuff15",
    "cocostuff",
    coco_taxonomy("cocostuff15", tuple(range(FIRST_STUFF, len(COARSE_NAMES)))),
    {"train": FINE, "val": FINE},
    five_crops=False,
)
COCOSTUFF3 = Benchmark(
    "cocostuff3",
    "cocostuff",
    coco_taxonomy("cocostuff3", SKY_PLANT_GROUND),
    {"train": FEW, "val": FEW},
    five_crops=False,
)
CITYSCAPES27 = Benchmark(
    "cityscapes27",
    "cityscapes",
    Taxonomy("cityscapes27", CITYSCAPES_NAMES, first_class_id=FIRST_CITYSCAPES_ID),
    backbone=VIT_B8,
    code_size=100,
    shifts={VIT_B8: "cityscapes27-b8"},
    published=(
        PaperRow("STEGO", B8, 73.2, 21.0),
        PaperRow(PICIE, RESNET, 65.5, 12.3),
        PaperRow(SMOOSEG, S8, 82.8, 18.4),
        PaperRow(EAGLE, B8, 79.4, 22.1),
        PaperRow(CAUSE, DINOV2, 89.8, 29.9),
    ),
)
POTSDAM3 = Benchmark(
    "potsdam3",
    "potsdam",
    Taxonomy("potsdam3", POTSDAM_NAMES, VOID_BYTE, POTSDAM_COARSE),
    {"train": "labelled_train.txt", "val": "labelled_test.txt"},
    five_crops=False,
    shifts={VIT_S8: "potsdam3-s8"},
    published=(PaperRow("STEGO", S8, 77.0), PaperRow(EAGLE, S8, 83.3)),
)
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (COCOSTUFF27, COCOSTUFF15, COCOSTUFF3, CITYSCAPES27, POTSDAM3)
}
"""Every data set by its name."""


def named(name: str) -> Benchmark:
    """The data set of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in BENCHMARKS:
        raise OptionError(f"benchmark {name!r} is unknown; expected {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
