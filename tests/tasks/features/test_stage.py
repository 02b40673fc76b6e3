"""The key of the features."""

from two_dumps import FEATURES

from tasks.features import stage as features
from tasks.features.rows import FeatureRows


def test_weights_count_by_content(rows: FeatureRows) -> None:
    spec = rows.backbone()
    elsewhere = FEATURES.model_copy(update={"weights": "/elsewhere.pth"})
    assert features.features_key(elsewhere, spec) == rows.key
    deeper = FEATURES.model_copy(update={"crops": "whole"})
    assert features.features_key(deeper, spec) != rows.key
