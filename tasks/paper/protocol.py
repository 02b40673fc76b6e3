"""The paper's protocol as options of the stages, and where a run departs from it."""

from collections.abc import Mapping
from typing import Any

from stego_core.paper.published_protocol import (
    EVALUATION_SIDE,
    TRAIN_SIDE,
    VIT_B8,
    VIT_S8,
    Benchmark,
)
from tasks.options import FeaturesOptions, Options

DIFFERENCES = (
    "clusters come from cosine k-means with restarts on codes of the finished head, not from "
    "centroids trained beside it",
    "the linear probe is fitted to the finished head, not beside it",
    "the last step is kept, not the checkpoint with the best mIoU on the validation labels",
    "tokens are drawn by nearest patch before the head runs",
)
"""What every run does differently from the released code; docs/notes/paper-protocol.md says why."""
EVERY = 10**9
"""Crops that features are kept for: all there are."""
NO_SHIFTS = "auto"
"""Where no shifts are published for a data set and backbone, they calibrate themselves."""


def architecture(backbone: str) -> str:
    """timm's name without the weights' tag."""
    return backbone.split(".", 1)[0]


def values(benchmark: Benchmark, backbone: str) -> dict[str, dict[str, Any]]:
    """What is published, by section and option; the backbone decides the shifts."""
    return {
        "features": {
            "crops": "five" if benchmark.five_crops else "whole",
            "crop_size": TRAIN_SIDE,
            "layer": None,
            "max_training_images": EVERY,
        },
        "neighbors": {"k": 30},
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
        "masks": {"resolution": EVALUATION_SIDE, "sharpness": 2.0, "crf_iterations": 10},
        "scores": {"linear_probe": True, "probe_protocol": "stego"},
    }


def settled(benchmark: Benchmark, given: Mapping[str, Options]) -> dict[str, Options]:
    """The sections' options: what somebody set stays, the rest is as published."""
    backbone = chosen_backbone(benchmark, given)
    published = values(benchmark, backbone)
    published["features"]["backbone"] = backbone
    return {
        section: given[section].model_copy(
            update={n: v for n, v in held.items() if n not in given[section].model_fields_set}
        )
        for section, held in published.items()
    }


def chosen_backbone(benchmark: Benchmark, given: Mapping[str, Options]) -> str:
    """timm's name of the backbone: as somebody set it, else the published one."""
    features = given["features"]
    assert isinstance(features, FeaturesOptions)
    stated = "backbone" in features.model_fields_set
    return features.backbone if stated else f"{benchmark.backbone}.dino"


def departures(
    benchmark: Benchmark, chosen: Mapping[str, Options], resampling: str, limit: int | None
) -> list[str]:
    """Where settled options are not what was published, a phrase each."""
    features = chosen["features"].model_dump()
    name, weights = features["backbone"], features["weights"]
    found = []
    if limit is not None:
        found.append(f"a trial on the first {limit} images of each split")
    tagged = "." not in name or name.endswith(".dino")
    if architecture(name) not in (VIT_S8, VIT_B8) or not tagged or weights:
        found.append(
            f"backbone {name}{f' with weights {weights}' if weights else ''} "
            f"(published: DINO ViT-S/8 and B/8)"
        )
    if resampling != "nearest":
        found.append(f"images resampled {resampling} (published: nearest)")
    if benchmark.shifts.get(architecture(name)) is None:
        found.append("no shifts are published for this data set and backbone")
    for section, published in values(benchmark, name).items():
        held = chosen[section].model_dump()
        found += [
            f"{option.replace('_', ' ')} {held[option]} (published: {value})"
            for option, value in published.items()
            if held[option] != value and value != EVERY
        ]
    if features["max_training_images"] != EVERY:
        found.append(f"features of at most {features['max_training_images']} crops are kept")
    return found
