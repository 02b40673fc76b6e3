"""The linear probe of a head: fitted once on the labelled training crops, then only read."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.images.geometry import crop_windows, square_labels
from stego_core.scores import linear_probe
from tasks.corpus.index import IndexReader
from tasks.engine import machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.features.rows import FeatureRows
from tasks.head import heads
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
    path: str
    seed: int
    device: str

    def shard(self, shard: int) -> Record:
        """Sample labelled images, gather their crops' codes and labels, fit."""
        watch, storage = Stopwatch(), self.rows.storage
        with watch("read"):
            codes, shares = self._examples()
        with watch("infer"):
            fitted = linear_probe.fit(codes, shares, self.seed)
        content = tables.write_tensors(
            storage, f"{self.path}/{layout.PROBE_FILE}", fitted._asdict()
        )
        record = Record(0, (0, 1), len(content), keys.digest(content), watch.seconds)
        return Folder(storage, self.path).record(record)

    def _examples(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width, _ = self.rows.shape()
        most = max(PROBE_TOKENS // (height * width), 1)
        labelled = [
            (dump, number) for dump in self.rows.dumps for number in self._labelled_images(dump)
        ]
        order = np.random.default_rng(self.seed).permutation(len(labelled))
        sample = np.sort(order[: max(most // self.rows.crops(), 1)])
        codes, shares = zip(*(self._image_examples(*labelled[i]) for i in sample), strict=True)
        return np.concatenate(codes), np.concatenate(shares)

    def _labelled_images(self, dump: str) -> list[int]:
        """Numbers, among a dump's sampled images, of the usable ones with a label."""
        index, rows = IndexReader(self.rows.workspace, dump), self.rows.images(dump)
        if not index.manifest["labelled"]:
            return []
        digests = [digest for part in index.column("label_digest") for digest in part]
        labelled = np.array([digest is not None for digest in digests])[rows]
        invalid = np.isin(rows, [int(row) for row in self.rows.manifest(dump)["invalid"]])
        return [int(number) for number in np.flatnonzero(labelled & ~invalid)]

    def _image_examples(
        self, dump: str, number: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Codes (n, D) and label shares (n, classes) of one image's crops."""
        crops, side = self.rows.crops(), int(self.rows.manifest(dump)["options"]["crop_size"])
        index = IndexReader(self.rows.workspace, dump)
        (entry,) = index.entries(self.rows.images(dump)[[number]])
        labels = index.labels(entry)
        assert labels is not None  # only labelled images are sampled
        classes = len(index.taxonomy().classes)
        first = int(self.rows.offsets()[self.rows.dumps.index(dump)]) + number * crops
        patches = self.rows.read("patches", np.arange(first, first + crops))
        grid = (patches.shape[1], patches.shape[2])
        head = heads.load_head(self.rows.storage, self.head_key, self.device)
        with torch.inference_mode():
            features = torch.from_numpy(patches.astype(np.float32)).to(machine.device(self.device))
            codes = head(features).flatten(0, 2).cpu().numpy()
        shares = [
            linear_probe.label_shares(square_labels(labels[window.slices], side), *grid, classes)
            for window in crop_windows(labels.shape[0], labels.shape[1], five=crops == 5)
        ]
        with_data = (patches != 0).any(axis=-1).reshape(-1, 1)
        return codes, np.concatenate(shares).reshape(-1, classes) * with_data


def probe_key(rows: FeatureRows, head_key: str, seed: int) -> str:
    """Key of the linear probe on a head's codes."""
    inputs = {**rows.inputs(), "head": head_key, "seed": seed}
    return keys.key("probe", VERSION, None, inputs)


def probe_folder(rows: FeatureRows, head_key: str, seed: int) -> Folder:
    """Where a head's probe lies."""
    return rows.workspace.folder(layout.SCORES, "probes", probe_key(rows, head_key, seed))


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
    work = ProbeWork(rows, head_key, folder.path, seed, device)
    return Stage(folder, "linear probe", "fits", 1, 1, work, {"stage": "probe", "head": head_key})
