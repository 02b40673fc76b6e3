"""Stage drift: how far a dump lies from the dumps that the head was trained on, without labels."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import CapacityError
from stego_core.scores.drift import Moments, feature_drift, shares_drift, thresholds, verdict
from tasks.features.rows import FeatureRows, feature_rows
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

VERSION = 1
"""Raised whenever the same features and masks would give another drift."""
BLOCK_IMAGES = 1024
"""Images whose vectors are read together: at most 16 MiB with five crops of 768 channels."""


def measure(
    workspace: Workspace,
    dump: str,
    features_key: str,
    training_dumps: Sequence[str],
    masks_key: str,
) -> dict[str, Any]:
    """Drift of a dump, computed once and kept in `drift/KEY/DUMP`.

    The training dumps' moments are kept in `drift/training/KEY`, so that a new dump costs its
    own size. Class shares are compared with those of the training dumps that have masks.

    Args:
        workspace: holds finished features of all dumps and finished masks of `dump`.
        dump: which one to judge.
        features_key: of the features.
        training_dumps: the dumps that the head and the clusters were made from, in order.
        masks_key: of the masks.

    Returns:
        The folder's manifest: `features` and `shares` (None where they could not be measured),
        `images`, `thresholds`, `judged`, `drifted`, `training` and `inputs`. A training dump has
        no drift: `training` is true, both numbers are None, and nothing is stored.

    Raises:
        WorkspaceError: features or masks are not finished.
    """
    training = feature_rows(workspace, features_key, training_dumps)
    if dump in training_dumps:
        return _manifest(dump, verdict(None, None, 0), training=True, inputs=training.inputs())
    rows = feature_rows(workspace, features_key, [dump])
    masks = workspace.folder(layout.masks(masks_key, dump)).manifest()
    masked = [d for d in training_dumps if workspace.folder(layout.masks(masks_key, d)).finished]
    key = drift_key(training, masks_key, masked)
    folder = workspace.folder(layout.DRIFT, key, dump)
    pins = {"index": rows.manifest(dump)["index"], "dump": dump}
    folder.plan(pins)
    if folder.finished:
        return folder.manifest()
    begun = time.perf_counter()
    images, features = _features(training, rows)
    shares = _shares(workspace, masks_key, masked, masks["pixels"])
    counts = [images] * (features is not None) + [int(masks["masks"])] * (shares is not None)
    drift = verdict(features, shares, min(counts, default=0))
    inputs = {**training.inputs(), "masks": masks_key, "masked": masked, **pins}
    manifest = _manifest(dump, drift, training=False, inputs=inputs)
    manifest["seconds"] = {"wall": round(time.perf_counter() - begun, 3)}
    folder.finish(manifest)
    return manifest


def _manifest(
    dump: str, drift: dict[str, Any], training: bool, inputs: dict[str, Any]
) -> dict[str, Any]:
    return {
        "stage": "drift",
        "version": VERSION,
        "dump": dump,
        "training": training,
        **drift,
        "inputs": inputs,
    }


def drift_key(training: FeatureRows, masks_key: str, masked: Sequence[str]) -> str:
    """Key of the drift of any dump from these training dumps, of which `masked` have masks."""
    inputs = {
        **training.inputs(),
        "masks": masks_key,
        "masked": list(masked),
        "thresholds": thresholds(),
    }
    return keys.key("drift", VERSION, None, inputs)


def _features(training: FeatureRows, rows: FeatureRows) -> tuple[int, float | None]:
    """Usable images of the dump, and their feature drift; None if there are too few."""
    moments = image_moments(rows)
    try:
        return moments.count, feature_drift(training_moments(training), moments)
    except CapacityError:
        return moments.count, None


def _shares(
    workspace: Workspace, masks_key: str, masked: Sequence[str], pixels: Sequence[int]
) -> float | None:
    """Shares drift of the dump's pixels per class; None if there is nothing to compare."""
    manifests = [workspace.folder(layout.masks(masks_key, dump)).manifest() for dump in masked]
    counts = np.asarray(pixels, np.int64)
    training = sum((np.asarray(m["pixels"], np.int64) for m in manifests), np.zeros_like(counts))
    try:
        return shares_drift(training, counts)
    except CapacityError:
        return None


def image_vectors(rows: FeatureRows) -> Iterator[NDArray[np.float32]]:
    """The mean pooled vector of each usable image's crops, in blocks (n, C) float32.

    Crops of an image are alike: counted one by one they would pass for a larger sample.
    """
    crops = rows.crops()
    size = BLOCK_IMAGES * crops
    valid = rows.blocks("valid", size)
    for (_, pooled), (_, usable) in zip(rows.blocks("pooled", size), valid, strict=True):
        usable = usable.reshape(-1, crops)
        images, vectors = usable.any(axis=1), pooled.reshape(len(usable), crops, -1)
        if usable[images].all():
            yield vectors[images].mean(axis=1)
            continue
        sums = (vectors * usable[..., None]).sum(axis=1)[images]  # some crops hold hardly any data
        yield sums / usable[images].sum(axis=1, dtype=np.float32)[:, None]


def image_moments(rows: FeatureRows) -> Moments:
    """Moments of the image vectors of some dumps, read block by block."""
    moments = Moments.create(rows.channels())
    for block in image_vectors(rows):
        moments = moments + Moments.of(block)
    return moments


def training_moments(training: FeatureRows) -> Moments:
    """Moments of the training images: computed once, then read back."""
    inputs, storage = training.inputs(), training.storage
    key = keys.key("moments", VERSION, None, inputs)
    folder = training.workspace.folder(layout.DRIFT, "training", key)
    path = f"{folder.path}/{layout.MOMENTS_FILE}"
    if folder.finished:
        stored = tables.read_tensors(storage, path)
        return Moments(int(stored["count"]), stored["mean"], stored["scatter"])
    folder.plan(inputs)
    moments = image_moments(training)
    tensors = {**vars(moments), "count": np.array(moments.count, np.int64)}
    manifest = {"stage": "moments", "version": VERSION, "images": moments.count, "inputs": inputs}
    digest = keys.digest(tables.write_tensors(storage, path, tensors))
    folder.finish({**manifest, "digest": digest})
    return moments
