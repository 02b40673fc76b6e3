"""The quick linear probe: which images it reads, and codes and shares of their crops."""

import numpy as np
import pytest
import torch
from two_dumps import compute

from stego_core.images.geometry import crop_windows, square_labels
from stego_core.scores import linear_probe
from tasks.corpus.index import IndexReader
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.scores import quick_probe
from tasks.workspace import layout, tables

STEPS = 20


def slow_examples(rows: FeatureRows, head_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, D) and label shares (n, 3) of all patches of the labelled images, one by one."""
    index = IndexReader(rows.workspace, "train")
    classes = len(index.taxonomy().classes)
    head = heads.load_head(rows.storage, head_key, "cpu")
    codes, shares = [], []
    for row, entry in enumerate(index.entries(rows.images("train"))):
        labels = index.labels(entry)
        if labels is None:
            continue
        windows = crop_windows(*labels.shape, five=True)
        for crop, window in enumerate(windows):
            patches = rows.read("patches", np.array([5 * row + crop]))
            with torch.inference_mode():
                codes.append(head(torch.from_numpy(patches.astype(np.float32))).numpy())
            side = square_labels(labels[window.slices], 32).reshape(2, 16, 2, 16)
            patch_ids = [side[i, :, j] for i, j in np.ndindex(2, 2)]
            shares.append([[(ids == c).mean() for c in range(classes)] for ids in patch_ids])
    depth = codes[0].shape[-1]
    return np.concatenate(codes).reshape(-1, depth), np.concatenate(shares)


def test_it_is_fitted_to_all_patches_of_labelled_images(
    rows: FeatureRows,
    head_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[np.ndarray, np.ndarray, int]] = []
    fit = linear_probe.fit

    def noted(codes: np.ndarray, shares: np.ndarray, seed: int) -> linear_probe.Probe:
        given.append((codes, shares, seed))
        return fit(codes, shares, seed, STEPS)

    monkeypatch.setattr(linear_probe, "fit", noted)
    stage = compute(quick_probe.plan(rows, head_key, 3, "cpu"))
    stage.finish(0.0, 1)
    ((codes, shares, seed),) = given
    slow_codes, slow_shares = slow_examples(rows, head_key)
    np.testing.assert_allclose(codes, slow_codes, atol=1e-5)
    np.testing.assert_allclose(shares, slow_shares, atol=1e-6)
    assert seed == 3
    stored = tables.read_tensors(rows.storage, f"{stage.folder.path}/{layout.PROBE_FILE}")
    np.testing.assert_allclose(stored["weight"], fit(codes, shares, 3, STEPS).weight, atol=1e-5)
    assert quick_probe.plan(rows, head_key, 3, "cpu") is None
    assert quick_probe.probe_folder(rows, head_key, 4).path != stage.folder.path


def test_few_tokens_are_those_of_few_images(
    rows: FeatureRows, head_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images of 5 crops of 4 patches; the whole images, in the order of their rows."""
    monkeypatch.setattr(quick_probe, "PROBE_TOKENS", 59)
    folder = quick_probe.probe_folder(rows, head_key, 0)
    codes, shares = quick_probe.ProbeWork(rows, head_key, folder, 0, "cpu")._examples()
    assert len(codes) == len(shares) == 2 * 5 * 4
    every_code, _ = slow_examples(rows, head_key)
    chosen = np.sort(np.random.default_rng(0).permutation(3)[:2])
    expected = every_code.reshape(3, 20, -1)[chosen].reshape(40, -1)
    np.testing.assert_allclose(codes, expected, atol=1e-5)


def test_it_is_fitted_where_classes_are_those_to_score(rows: FeatureRows) -> None:
    assert quick_probe.can_fit(rows, "train")
