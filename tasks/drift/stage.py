"""Stage drift: how far a dump lies from the dumps that the head was trained on, without labels."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
    pixels = np.asarray(masks["pixels"], np.int64)
    moments, features, shares, counts = image_moments(rows), None, None, list[int]()
    with suppress(CapacityError):  # too few images
        features = feature_drift(training_moments(training), moments)
        counts.append(moments.count)
    with suppress(CapacityError):  # nothing to compare
        shares = shares_drift(_pixels(workspace, masks_key, masked, len(pixels)), pixels)
        counts.append(int(masks["masks"]))
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


def _pixels(
    workspace: Workspace, masks_key: str, dumps: Sequence[str], classes: int
) -> NDArray[np.int64]:
    """(K,) pixels of each class in the masks of some dumps."""
    manifests = [workspace.folder(layout.masks(masks_key, dump)).manifest() for dump in dumps]
    pixels = np.array([manifest["pixels"] for manifest in manifests], np.int64)
    return np.asarray(pixels.reshape(len(dumps), classes).sum(axis=0))


def image_vectors(rows: FeatureRows) -> Iterator[NDArray[np.float32]]:
    """The mean pooled vector of each usable image's crops, in blocks (n, C) float32.

    Crops of an image are alike: counted one by one they would pass for a larger sample.
    """
    crops = rows.crops()
    for block in rows.row_blocks(BLOCK_IMAGES * crops):
        usable = rows.read("valid", block).reshape(-1, crops)
        vectors = rows.read("pooled", block).reshape(len(usable), crops, -1)
        images = usable.any(axis=1)
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
