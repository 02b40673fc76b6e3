"""The sample of codes that clusters are made from."""

import numpy as np
import pytest
import torch
from torch import nn
from two_dumps import compute

from stego_core.clustering import kmeans
from stego_core.clustering.silhouette import FEATURES
from stego_core.head.head import BesideFeatures, Head, MeanShiftHead
from tasks.clusters import code_sample
from tasks.clusters import stage as clusters
from tasks.clusters.code_sample import CODES, OBJECTS, samples_of, token_sample
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


def image() -> torch.Tensor:
    """An image of 81 patches of one object, 9 of another."""
    return torch.eye(2)[(torch.arange(90) < 81).long()].reshape(9, 10, 2)


def test_tokens_of_other_heads_are_sampled_alike() -> None:
    samples = samples_of(nn.Identity(), image(), 60, np.random.default_rng(0))
    assert list(samples) == [CODES]
    assert samples[CODES].shape == (60, 2)
    assert (samples[CODES][:, 1] > 0.5).mean() == pytest.approx(0.9, abs=0.08)


def test_objects_come_alike_after_mean_shift() -> None:
    head = MeanShiftHead(nn.Identity())
    samples = samples_of(head, image(), 4000, np.random.default_rng(0))
    assert (samples[OBJECTS][:, 1] > 0.5).mean() == pytest.approx(0.5, abs=0.03)
    codes, features = samples[CODES], samples[FEATURES]
    assert (codes[:90, 1] > 0.5).sum() == 81
    assert not codes[90:].any()
    assert not features[90:].any()
    np.testing.assert_allclose(codes[:90], features[:90], atol=0.01)  # shifted by hardly anything


def test_codes_lie_beside_the_features_of_the_same_tokens() -> None:
    patches = torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(0))
    head = Head.create(3, 2, torch.Generator().manual_seed(1)).eval()
    whole = MeanShiftHead(head)
    with torch.inference_mode():
        samples = samples_of(whole, patches, 30, np.random.default_rng(0))
        beside = BesideFeatures(whole)(patches[None])[0].reshape(30, -1).numpy()
    both = np.concatenate([kmeans.unit(samples[CODES]), kmeans.unit(samples[FEATURES])], axis=1)
    np.testing.assert_allclose(both, beside, atol=1e-5)


def test_without_data_there_are_zeros() -> None:
    head = MeanShiftHead(Head.create(3, 2, torch.Generator()))
    samples = samples_of(head, torch.zeros(2, 2, 3), 5, np.random.default_rng(0))
    assert {name: vectors.shape for name, vectors in samples.items()} == {
        CODES: (5, 2),
        FEATURES: (5, 3),
        OBJECTS: (5, 2),
    }
    assert not any(vectors.any() for vectors in samples.values())


def test_more_rows_than_vectors_are_sampled_themselves(
    rows: FeatureRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_sample, "MAX_FLOATS", 10 * 7)
    sample = token_sample(rows, 10, 256, 0)
    assert sample.vectors == len(sample.rows) == 7
    assert len(set(sample.rows.tolist())) == 7
    assert sample.rows.max() < rows.total


def test_few_rows_are_all_sampled(rows: FeatureRows) -> None:
    sample = token_sample(rows, 10, 2 * rows.total + 1, 0)
    assert sample.rows.tolist() == list(range(rows.total))
    assert sample.tokens == 2
