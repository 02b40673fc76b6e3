"""Every hyper-parameter that changes the released model is heeded or refused."""

from typing import Any

import pytest

from stego_core.errors import WeightsError
from stego_core.paper.released_settings import Sizes, projects, require_known

SMALL = Sizes(channels=384, patch=8, code_size=70, clusters=27, probed=27, nonlinear=True)
RELEASED = {
    "arch": "dino",
    "model_type": "vit_small",
    "dino_patch_size": 8,
    "dino_feat_type": "feat",
    "projection_type": "nonlinear",
    "continuous": True,
    "dim": 70,
    "n_classes": 27,
    "extra_clusters": 0,
    "use_recalibrator": False,
    "use_fit_model": False,
}


def test_what_was_released_is_taken() -> None:
    require_known(RELEASED, SMALL)
    require_known({}, SMALL)  # a bare state dict says nothing
    for name in RELEASED:
        require_known({key: value for key, value in RELEASED.items() if key != name}, SMALL)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("arch", "feature-pyramid", "means another network than DINO"),
        ("arch", None, "its arch is None"),
        ("model_type", "resnet50", "expected 'vit_tiny' or 'vit_small' or 'vit_base'"),
        ("model_type", "vit_base", "model_type vit_base says 768 channels, .* have 384"),
        ("dino_patch_size", 16, "dino_patch_size says 16 pixels a patch, .* have 8"),
        ("dino_feat_type", "KK", "codes of other features than the last block's output"),
        ("projection_type", "linear", "its head has the second branch, net.cluster2"),
        ("projection_type", "mlp", "expected 'nonlinear' or 'linear' or None"),
        ("projection_type", None, "codes are features of 384 numbers, and its clusters have 70"),
        ("continuous", "yes", "its continuous is 'yes'"),
        ("continuous", False, "n_classes says 27 numbers a code, .* have 70"),
        ("dim", 100, "dim says 100 numbers a code, .* have 70"),
        ("n_classes", 15, "n_classes says 15 classes in the linear probe, .* have 27"),
        ("extra_clusters", 3, r"n_classes \+ extra_clusters 3 says 30 clusters, .* have 27"),
        ("use_recalibrator", True, "a part that the released code does not have"),
        ("use_fit_model", True, "a part that the released code does not have"),
    ],
)
def test_another_value_of_any_of_them_is_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        require_known({**RELEASED, name: value}, SMALL)


def test_discrete_codes_have_a_number_for_each_class() -> None:
    sizes = SMALL._replace(code_size=27)
    require_known({**RELEASED, "continuous": False}, sizes)  # `dim` is unused then


def test_a_named_backbone_may_have_another_word_for_its_type() -> None:
    require_known({**RELEASED, "model_type": "dinov2_vits8"}, SMALL, named=True)


def test_a_head_is_missing_where_the_projection_is_none() -> None:
    assert projects({})
    assert projects({"projection_type": "linear"})
    assert not projects({"projection_type": None})
    require_known(
        {**RELEASED, "projection_type": None, "dim": 384},
        SMALL._replace(code_size=384, nonlinear=False),
    )


def test_a_linear_projection_has_one_branch() -> None:
    with pytest.raises(WeightsError, match="its head lacks the second branch"):
        require_known(RELEASED, SMALL._replace(nonlinear=False))
