"""The configuration inside a published checkpoint: what changes the model is heeded or refused.

Source: the constructors and forward passes of STEGO's `LitUnsupervisedSegmenter` and
`DinoFeaturizer`. All other hyper-parameters change how a model is trained, or nothing; `dropout`
is among them, as a model in evaluation drops nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from stego_core.errors import WeightsError

CHANNELS = {"vit_tiny": 192, "vit_small": 384, "vit_base": 768}
"""Channels of DINO's transformers by STEGO's `model_type`."""
CHOICES: dict[str, tuple[Any, ...]] = {
    "arch": ("dino",),
    "dino_feat_type": ("feat",),
    "projection_type": ("nonlinear", "linear", None),
    "continuous": (True, False),
    "use_recalibrator": (False, None),
    "use_fit_model": (False, None),
}
"""Values of hyper-parameters whose model can be written down here."""
MEANINGS = {
    "arch": "another network than DINO's transformer with a head",
    "model_type": "another transformer",
    "dino_feat_type": "codes of other features than the last block's output",
    "projection_type": "another head",
    "continuous": "codes of another kind",
    "use_recalibrator": "a part that the released code does not have",
    "use_fit_model": "a part that the released code does not have",
}
"""What other values than those would mean."""
SETTINGS = (
    *CHOICES, "model_type", "dino_patch_size", "dim", "n_classes", "extra_clusters", "dataset_name",
)  # fmt: skip
"""The hyper-parameters that are looked at; the last one says what the model was trained on."""


class Sizes(NamedTuple):
    """What the parameters themselves say.

    Attributes:
        channels: C, of a feature.
        patch: side in pixels; None where the backbone has no patches that are known.
        code_size: D of the clusters.
        clusters: K.
        probed: classes of the linear probe; None without one.
        nonlinear: whether the head has its second branch.
    """

    channels: int
    patch: int | None
    code_size: int
    clusters: int
    probed: int | None
    nonlinear: bool


def projects(settings: Mapping[str, Any]) -> bool:
    """Whether the codes are a head's; with `projection_type` None they are the features."""
    return settings.get("projection_type", "nonlinear") is not None


def require_known(settings: Mapping[str, Any], sizes: Sizes, named: bool = False) -> None:
    """Refuse a configuration that says of the model what its parameters do not, or what is unknown.

    Names that `settings` lacks say nothing. `named`: a person has named the backbone, so another
    `model_type` may be a fork's word for it.

    Raises:
        WeightsError: a sentence on the first of them.
    """
    for name, values in CHOICES.items():
        if name in settings and settings[name] not in values:
            raise _refusal(name, settings[name], values)
    model = settings.get("model_type")
    if model is not None and model not in CHANNELS and not named:
        raise _refusal("model_type", model, tuple(CHANNELS))
    for name, stated, actual, what in _counts(settings, sizes):
        if stated is not None and actual is not None and stated != actual:
            raise WeightsError(
                f"its {name} says {stated} {what}, and its parameters have {actual}; they belong "
                "to different models"
            )
    _require_branches(settings, sizes)


def _refusal(name: str, value: Any, values: tuple[Any, ...]) -> WeightsError:
    expected = " or ".join(map(ascii, values))
    return WeightsError(
        f"its {name} is {value!a}, which means {MEANINGS[name]}; expected {expected}"
    )


def _counts(settings: Mapping[str, Any], sizes: Sizes) -> list[tuple[str, Any, int | None, str]]:
    """Name, stated value, actual value, and what is counted, of each size that is stated."""
    classes, extra = settings.get("n_classes"), settings.get("extra_clusters")
    clusters = None
    if isinstance(classes, int) and isinstance(extra, int):
        clusters = classes + extra
    discrete = settings.get("continuous") is False
    name = "n_classes" if discrete else "dim"
    model = settings.get("model_type")
    together = "n_classes" + (f" + extra_clusters {extra}" if extra else "")
    return [
        (f"model_type {model}", CHANNELS.get(str(model)), sizes.channels, "channels"),
        ("dino_patch_size", settings.get("dino_patch_size"), sizes.patch, "pixels a patch"),
        (name, settings.get(name), sizes.code_size, "numbers a code"),
        ("n_classes", classes, sizes.probed, "classes in the linear probe"),
        (together, clusters, sizes.clusters, "clusters"),
    ]


def _require_branches(settings: Mapping[str, Any], sizes: Sizes) -> None:
    """Refuse a head that has not the branches which `projection_type` names."""
    projection = settings.get("projection_type", ...)
    if projection is None and sizes.code_size != sizes.channels:
        raise WeightsError(
            f"its projection_type is None, so that codes are features of {sizes.channels} numbers, "
            f"and its clusters have {sizes.code_size}; they belong to different models"
        )
    if projection in ("linear", "nonlinear") and (projection == "nonlinear") != sizes.nonlinear:
        found = "has" if sizes.nonlinear else "lacks"
        raise WeightsError(
            f"its projection_type is {projection!a}, and its head {found} the second branch, "
            "net.cluster2; they belong to different models"
        )
