"""The linear probe of a head: fitted once on the labelled training crops, then only read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.images.geometry import crop_windows, square_labels
from stego_core.scores import linear_probe
from tasks.corpus.index import IndexReader
from tasks.engine import machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
PROBE_TOKENS = 300_000
"""Tokens that the probe is fitted on, at most."""
PROBE_FILE = layout.PROBE_FILE


@dataclass(frozen=True)
class ProbeWork:
    """Fits the linear probe on codes of the labelled training crops; a single shard."""

    rows: FeatureRows
    head_key: str
    path: str
    seed: int
    device: str

    def steps(self) -> Sequence[Step]:
        """One step, on a GPU where there is one."""
        return [Step(self.shard, gpu=True)]

    def shard(self, shard: int) -> Record:
        """Draw labelled images, gather their crops' codes and labels, fit."""
        watch = Stopwatch()
        storage = self.rows.workspace.storage
        with watch("read"):
            codes, shares = self._examples()
        with watch("infer"):
            fitted = linear_probe.fit(codes, shares, self.seed)
        content = tables.write_tensors(storage, f"{self.path}/{PROBE_FILE}", fitted._asdict())
        record = Record(0, (0, 1), len(content), keys.digest(content), watch.seconds)
        Folder(storage, self.path).record(record)
        return record

    def _examples(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width, _ = self.rows.shape()
        most = max(PROBE_TOKENS // (height * width), 1)
        labelled = [
            (number, place)
            for number, dump in enumerate(self.rows.dumps)
            if IndexReader(self.rows.workspace, dump).manifest["labelled"]
            for place in self._labelled_places(dump)
        ]
        crops = int(self.rows.manifest(self.rows.dumps[0])["crops"])
        draw = np.random.default_rng(self.seed).permutation(len(labelled))
        parts = [self._image_examples(*labelled[i]) for i in np.sort(draw[: max(most // crops, 1)])]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _labelled_places(self, dump: str) -> list[int]:
        """Places, among a dump's drawn images, of those with a label."""
        index = IndexReader(self.rows.workspace, dump)
        drawn = self._drawn(dump)
        digests = np.concatenate(
            [np.array([d is not None for d in part]) for part in index.column("label_digest")]
        )
        valid = ~np.isin(drawn, [int(r) for r in self.rows.manifest(dump)["invalid"]])
        return [int(place) for place in np.flatnonzero(digests[drawn] & valid)]

    def _drawn(self, dump: str) -> NDArray[np.int64]:
        storage = self.rows.workspace.storage
        return arrays.read_rows(storage, self.rows.path(dump), "images", slice(None))

    def _image_examples(
        self, number: int, place: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Codes (n, D) and label shares (n, classes) of one image's crops."""
        dump = self.rows.dumps[number]
        manifest = self.rows.manifest(dump)
        crops, side = int(manifest["crops"]), int(manifest["options"]["crop_size"])
        index = IndexReader(self.rows.workspace, dump)
        (entry,) = index.entries(self._drawn(dump)[[place]])
        labels = index.labels(entry)
        assert labels is not None  # only labelled places are drawn
        classes = len(index.taxonomy().classes)
        first = int(self.rows.offsets()[number]) + place * crops
        patches = self.rows.read("patches", np.arange(first, first + crops))
        grid = (patches.shape[1], patches.shape[2])
        head = heads.load_head(self.rows.workspace.storage, self.head_key, self.device)
        with torch.inference_mode():
            features = torch.from_numpy(patches.astype(np.float32)).to(machine.device(self.device))
            codes = head(features).flatten(0, 2).cpu().numpy()
        shares = [
            linear_probe.label_shares(square_labels(labels[window.slices], side), *grid, classes)
            for window in crop_windows(labels.shape[0], labels.shape[1], five=crops == 5)
        ]
        there = (patches != 0).any(axis=-1).reshape(-1, 1)  # the others hold no data
        return codes, np.concatenate(shares).reshape(-1, classes) * there


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
    wanted = IndexReader(rows.workspace, dump).taxonomy().classes
    return all(r.taxonomy().classes == wanted for r in readers if r.manifest["labelled"])


def imported_probe(workspace: Workspace, dump: str, clusters_key: str) -> str | None:
    """File of the probe that came with imported clusters; None where it does not know the
    classes of the dump's labels.
    """
    held = workspace.folder(layout.clusters(clusters_key)).manifest()["probe"]
    classes = IndexReader(workspace, dump).taxonomy().classes
    if held is None or held["classes"] != len(classes):
        return None
    if held["names"] is not None and held["names"] != list(classes):
        return None
    return f"{layout.clusters(clusters_key)}/{PROBE_FILE}"


def plan(rows: FeatureRows, head_key: str, seed: int, device: str) -> Stage | None:
    """The probe of a head; None if it is fitted."""
    place = probe_folder(rows, head_key, seed)
    if place.finished:
        return None
    work = ProbeWork(rows, head_key, place.path, seed, device)
    return Stage(place, "linear probe", "fits", 1, 1, work, {"stage": "probe", "head": head_key})
