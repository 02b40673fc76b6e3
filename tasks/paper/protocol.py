"""The paper's protocol as options of the stages, and where a run departs from it."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from stego_core.paper.published_protocol import (
    EVALUATION_SIDE,
    TRAIN_SIDE,
    VIT_B8,
    VIT_S8,
    Benchmark,
)
from tasks.options import (
    ClustersOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    NeighborsOptions,
    Options,
    ScoresOptions,
)

DIFFERENCES = (
    "clusters come from cosine k-means with restarts on codes of the finished head, not from "
    "centroids trained beside it",
    "the linear probe is fitted to the finished head, not beside it",
    "the last step is kept, not the checkpoint with the best mIoU on the validation labels",
    "tokens are sampled by nearest patch before the head runs",
)
"""Differences of every run from the released code; docs/notes/paper-protocol.md gives reasons."""
EVALUATION_DIFFERENCES = ()
"""Differences of the evaluation of a released checkpoint."""
COMPUTED_POSITIONS = ("dinov3", "rope")
"""Parts of timm's names of transformers that have no learned positions."""
DINO_FILES = {
    VIT_S8: ("dino_deitsmall8_300ep_pretrain.pth", "dino_deitsmall8_pretrain.pth"),
    VIT_B8: ("dino_vitbase8_pretrain.pth",),
}
"""DINO's own files of each published architecture, those that the released code fetches first."""
SECTIONS: dict[str, type[Options]] = {
    "features": FeaturesOptions,
    "neighbors": NeighborsOptions,
    "head": HeadOptions,
    "clusters": ClustersOptions,
    "masks": MasksOptions,
    "scores": ScoresOptions,
}
"""The sections that have published values."""
EVALUATION = ("masks", "scores")
"""The sections that the evaluation of a released checkpoint heeds."""
EVERY = 10**9
"""The limit of the crops whose features are stored: none."""
NO_SHIFTS = "auto"
"""The loss's shifts where none are published for a data set and backbone: they are measured."""


def architecture(backbone: str) -> str:
    """timm's name without the weights' tag."""
    return backbone.split(".", 1)[0]


def values(benchmark: Benchmark, backbone: str) -> dict[str, dict[str, Any]]:
    """The published options, by section; the shifts depend on the backbone."""
    return {
        "features": {
            "crops": "five" if benchmark.five_crops else "whole",
            "crop_size": TRAIN_SIDE,
            "layer": None,
            "positions": "timm" if any(p in backbone for p in COMPUTED_POSITIONS) else "dino",
            "precision": "float32",
            "max_training_images": EVERY,
        },
        "neighbors": {"k": 30, "search": "exact"},
        "head": {
            "recipe": "stego",
            "shifts": benchmark.shifts.get(architecture(backbone), NO_SHIFTS),
            "steps": 5000,
            "batch": 16,
            "code_size": benchmark.code_size,
            "grid": 11,
            "learning_rate": 5e-4,
            "dropout": 0.1,
        },
        "clusters": {"classes": len(benchmark.classes)},
        "masks": {
            "resolution": EVALUATION_SIDE,
            "views": "mirror",
            "tile": 2 * EVALUATION_SIDE,  # squares are read whole
            "sharpness": 2.0,
            "crf_iterations": 10,
            "crf_pixels": "released",
        },
        "scores": {"linear_probe": True, "probe_protocol": "stego"},
    }


def published_options(benchmark: Benchmark, given: Mapping[str, Options]) -> dict[str, Options]:
    """The sections' options: those that a user set stay, the rest is as published."""
    backbone = chosen_backbone(benchmark, given)
    published = values(benchmark, backbone)
    published["features"]["backbone"] = backbone
    return {
        section: SECTIONS[section](
            **{
                **options,
                **{name: getattr(given[section], name) for name in given[section].model_fields_set},
            }
        )
        for section, options in published.items()
    }


def chosen_backbone(benchmark: Benchmark, given: Mapping[str, Options]) -> str:
    """timm's name of the backbone: the one that a user set, else the published one."""
    features = given["features"]
    assert isinstance(features, FeaturesOptions)
    stated = "backbone" in features.model_fields_set
    return features.backbone if stated else f"{benchmark.backbone}.dino"


def departures(
    benchmark: Benchmark,
    chosen: Mapping[str, Options],
    resampling: str,
    limit: int | None,
    sections: Sequence[str] = tuple(SECTIONS),
) -> list[str]:
    """Options of these sections that differ from the published ones, a phrase each."""
    features = chosen["features"]
    assert isinstance(features, FeaturesOptions)
    phrases = []
    if limit is not None:
        phrases.append(f"a trial on the first {limit} images of each split")
    trains = "features" in sections
    if trains:
        phrases += backbone_departures(features)
    if resampling != "nearest":
        phrases.append(f"images resampled {resampling} (published: nearest)")
    if trains and benchmark.shifts.get(architecture(features.backbone)) is None:
        phrases.append("no shifts are published for this data set and backbone")
    for section, published in values(benchmark, features.backbone).items():
        phrases += [
            f"{option.replace('_', ' ')} {getattr(chosen[section], option)} (published: {value})"
            for option, value in published.items()
            if section in sections and getattr(chosen[section], option) != value != EVERY
        ]
    if trains and features.max_training_images != EVERY:
        phrases.append(f"features of at most {features.max_training_images} crops are kept")
    return phrases


def backbone_departures(features: FeaturesOptions) -> list[str]:
    """How the backbone differs from the released code's, by its name and by that of its file."""
    name, weights = features.backbone, features.weights
    files = DINO_FILES.get(architecture(name), ())
    file = PurePosixPath(weights).name if weights else None
    tagged = name.endswith(".dino") or (file is not None and "." not in name)
    if not files or (file is not None and file not in files) or not tagged:
        return [
            f"backbone {name}{f' with weights {weights}' if weights else ''} "
            "(published: DINO ViT-S/8 and B/8)"
        ]
    if len(files) > 1 and file != files[0]:
        return [f"weights {files[1]} (released code: {files[0]}; give that file with --weights)"]
    return []
