"""The linear probe of a head: fitted once on the labelled training crops, then only read."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.scores import linear_probe
from tasks.corpus.index import IndexReader
from tasks.engine import machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.scores.labelled_crops import LabelledCrops
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
"""Raised whenever the same labels would give another probe."""
PROBE_TOKENS = 300_000
"""Tokens that the probe is fitted on, at most."""


@dataclass(frozen=True)
class ProbeWork(GpuWork):
    """Fits the linear probe on codes of the labelled training crops; a single shard."""

    rows: FeatureRows
    head_key: str
    folder: Folder
    seed: int
    device: str

    def shard(self, shard: int) -> Record:
        """Sample labelled images, gather their crops' codes and labels, fit."""
        watch = Stopwatch()
        with watch("read"):
            codes, shares = self._examples()
        with watch("infer"):
            fitted = linear_probe.fit(codes, shares, self.seed)
        path = f"{self.folder.path}/{layout.PROBE_FILE}"
        content = tables.write_tensors(self.folder.storage, path, fitted._asdict())
        record = Record(0, (0, 1), len(content), keys.digest(content), watch.seconds)
        return self.folder.record(record)

    def _examples(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Codes (n, D) and label shares (n, classes) of the crops of a sample of images."""
        labelled, (height, width, _) = LabelledCrops(self.rows), self.rows.shape()
        most = max(PROBE_TOKENS // (height * width), 1)
        order = np.random.default_rng(self.seed).permutation(len(labelled.images))
        sample = np.sort(order[: max(most // labelled.crops, 1)])
        images = labelled.images[sample].tolist()
        codes, shares = zip(*(self._image_examples(labelled, i) for i in images), strict=True)
        return np.concatenate(codes), np.concatenate(shares)

    def _image_examples(
        self, labelled: LabelledCrops, image: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same of one image."""
        first = image * labelled.crops
        patches = self.rows.read("patches", np.arange(first, first + labelled.crops))
        head = heads.load_head(self.rows.storage, self.head_key, self.device)
        with torch.inference_mode():
            features = torch.from_numpy(patches.astype(np.float32)).to(machine.device(self.device))
            codes = head(features).flatten(0, 2).cpu().numpy()
        shares = [
            linear_probe.label_shares(ids, patches.shape[1], patches.shape[2], labelled.classes)
            for ids in labelled.labels(image)
        ]
        with_data = (patches != 0).any(axis=-1).reshape(-1, 1)
        return codes, np.concatenate(shares).reshape(-1, labelled.classes) * with_data


def probe_folder(rows: FeatureRows, head_key: str, seed: int) -> Folder:
    """Where a head's probe lies."""
    inputs = {**rows.inputs(), "head": head_key, "seed": seed}
    key = keys.key("probe", VERSION, None, inputs)
    return rows.workspace.folder(layout.SCORES, "probes", key)


def can_fit(rows: FeatureRows, dump: str) -> bool:
    """Whether the training dumps have labels, and of the same classes as the dump to score."""
    readers = [IndexReader(rows.workspace, name) for name in rows.dumps]
    if not any(reader.manifest["labelled"] for reader in readers):
        return False
    classes = IndexReader(rows.workspace, dump).taxonomy().classes
    return all(r.taxonomy().classes == classes for r in readers if r.manifest["labelled"])


def imported_probe(workspace: Workspace, dump: str, clusters_key: str) -> str | None:
    """File of the probe that came with imported clusters; None where it does not know the
    classes of the dump's labels.
    """
    probe = workspace.folder(layout.clusters(clusters_key)).manifest()["probe"]
    classes = IndexReader(workspace, dump).taxonomy().classes
    if probe is None or probe["classes"] != len(classes):
        return None
    if probe["names"] is not None and probe["names"] != list(classes):
        return None
    return f"{layout.clusters(clusters_key)}/{layout.PROBE_FILE}"


def plan(rows: FeatureRows, head_key: str, seed: int, device: str) -> Stage | None:
    """Plan the probe of a head; None if it is fitted."""
    folder = probe_folder(rows, head_key, seed)
    if folder.finished:
        return None
    work = ProbeWork(rows, head_key, folder, seed, device)
    return Stage(folder, "linear probe", "fits", 1, 1, work, {"stage": "probe", "head": head_key})
