"""The sample of codes that clusters are made from."""

import numpy as np
import pytest
import torch
from torch import nn
from two_dumps import compute

from stego_core.head.head import MeanShiftHead
from tasks.clusters import stage as clusters
from tasks.clusters.code_sample import sample_codes
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.options import (
    ClustersOptions,
)
from tasks.workspace import arrays


def test_codes_are_sampled_per_row(rows: FeatureRows) -> None:
    options = ClustersOptions(classes=3, max_tokens=256)
    stage = compute(clusters.plan_codes(rows, heads.IDENTITY, options, "cpu"))
    codes = arrays.read_rows(rows.workspace.storage, stage.folder.path, "codes", slice(None))
    assert codes.shape == (rows.total * (256 // rows.total), 192)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("shifted", [False, True])
def test_things_come_alike_after_mean_shift(shifted: bool) -> None:
    """An image of 81 patches of one thing, 9 of another: 9 to 1, or 1 to 1."""
    patches = torch.eye(2)[(torch.arange(90) < 81).long()].reshape(9, 10, 2)
    head = MeanShiftHead(nn.Identity()) if shifted else nn.Identity()
    tokens = 4000 if shifted else 60
    codes = sample_codes(head, patches, tokens, np.random.default_rng(0))
    assert codes.shape == (tokens, 2)
    share = (codes[:, 1] > 0.5).mean()
    assert share == pytest.approx(0.5 if shifted else 0.9, abs=0.03 if shifted else 0.08)
