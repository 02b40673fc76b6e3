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
    "tokens are sampled by nearest patch before the head runs",
)
"""Differences of every run from the released code; docs/notes/paper-protocol.md gives reasons."""
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


def published_options(benchmark: Benchmark, given: Mapping[str, Options]) -> dict[str, Options]:
    """The sections' options: those that a user set stay, the rest is as published."""
    backbone = chosen_backbone(benchmark, given)
    published = values(benchmark, backbone)
    published["features"]["backbone"] = backbone
    return {
        section: given[section].model_copy(
            update={
                name: value
                for name, value in options.items()
                if name not in given[section].model_fields_set
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
    benchmark: Benchmark, chosen: Mapping[str, Options], resampling: str, limit: int | None
) -> list[str]:
    """Options that differ from the published ones, a phrase each."""
    features = chosen["features"].model_dump()
    name, weights = features["backbone"], features["weights"]
    phrases = []
    if limit is not None:
        phrases.append(f"a trial on the first {limit} images of each split")
    tagged = "." not in name or name.endswith(".dino")
    if architecture(name) not in (VIT_S8, VIT_B8) or not tagged or weights:
        phrases.append(
            f"backbone {name}{f' with weights {weights}' if weights else ''} "
            f"(published: DINO ViT-S/8 and B/8)"
        )
    if resampling != "nearest":
        phrases.append(f"images resampled {resampling} (published: nearest)")
    if benchmark.shifts.get(architecture(name)) is None:
        phrases.append("no shifts are published for this data set and backbone")
    for section, published in values(benchmark, name).items():
        options = chosen[section].model_dump()
        phrases += [
            f"{option.replace('_', ' ')} {options[option]} (published: {value})"
            for option, value in published.items()
            if options[option] != value and value != EVERY
        ]
    if features["max_training_images"] != EVERY:
        phrases.append(f"features of at most {features['max_training_images']} crops are kept")
    return phrases
