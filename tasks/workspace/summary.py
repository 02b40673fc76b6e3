"""What a workspace holds, gathered from its manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from stego_core.labels.class_names import numbered
from tasks.workspace import layout
from tasks.workspace.catalog_file import Entries
from tasks.workspace.dump_entry import MARGIN_LEVELS, ZARR_STAGES
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

METHODS = {
    "STEGO": "",
    "STEGO, many-to-one": "many_",
    "k-means on raw features": "baseline_",
    "PiCIE": "picie_",
    "linear probe (uses labels)": "linear_",
}
"""The methods that are scored, for people, and how the names of their figures begin."""
STAGE_FOLDERS = {
    "head": layout.HEADS,
    "baseline_clusters": layout.CLUSTERS,
    "baseline_masks": layout.MASKS,
    "picie_masks": layout.MASKS,
}
"""The folder of a stage's outcome, where it has another name than the stage."""


class ClassMargins(NamedTuple):
    """Of the pixels of each cluster in all masks.

    Attributes:
        pixels: (K,) int64.
        margins: (K,) float64, sum of their margins, each 0 to 1.
    """

    pixels: NDArray[np.int64]
    margins: NDArray[np.float64]

    def shares(self) -> NDArray[np.float64]:
        """(K,) share of the pixels that each cluster has, 0 to 1."""
        return self.pixels / max(int(self.pixels.sum()), 1)


@dataclass(frozen=True)
class Summary:
    """Read-only view of a workspace's finished stages."""

    workspace: Workspace

    @cached_property
    def last_run(self) -> dict[str, Any]:
        """Keys and options of the last run; empty before the first."""
        return self.workspace.last_run_or_none() or {}

    @property
    def keys(self) -> dict[str, str]:
        """Current key of each stage."""
        return dict(self.last_run.get("keys", {}))

    def require(self, stage: str) -> str:
        """Current key of a stage; a WorkspaceError if it has not been run."""
        if stage not in self.keys:
            raise WorkspaceError(
                f"{self.workspace.storage.uri} has no current {stage}; run `stego {stage}` or "
                "`stego run` first"
            )
        return self.keys[stage]

    @cached_property
    def catalog(self) -> Entries:
        """What is shown of every finished dump, in order of arrival."""
        return self.workspace.catalog()

    @cached_property
    def dumps(self) -> list[str]:
        """Finished dumps in order of arrival."""
        return list(vars(self).get("catalog") or self.workspace.dumps())

    def done(self, stage: str, dump: str) -> bool:
        """Whether a stage of STAGES is finished for a dump, as the catalog knows it."""
        return dump in self.catalog and self.catalog[dump].key(stage) is not None

    def folder(self, stage: str, dump: str) -> Folder | None:
        """The current folder of a stage and dump, if it is finished."""
        key = self.keys.get(stage)
        if stage == "neighbors":
            key = self.last_run.get("neighbors", {}).get(dump)
        return self._finished(stage, key, layout.zarr(dump) if stage in ZARR_STAGES else dump)

    def manifest(self, stage: str, dump: str) -> dict[str, Any] | None:
        """The current manifest of a stage and dump, if it is finished."""
        folder = self.folder(stage, dump)
        return folder.manifest() if folder else None

    def whole(self, stage: str) -> dict[str, Any] | None:
        """The current manifest of a stage that has no dumps: head or clusters."""
        folder = self._finished(stage, self.keys.get(stage))
        return folder.manifest() if folder else None

    def scores(self, dump: str) -> dict[str, Any] | None:
        """The scores' manifest of a dump's current masks, if there is one."""
        folder = self._finished("scores", self.last_run.get("scores", {}).get(dump), dump)
        return folder.manifest() if folder else None

    def _finished(self, stage: str, key: str | None, *dump: str) -> Folder | None:
        """The folder of a stage's outcome; None where it has no key or is not finished."""
        if not key:
            return None
        folder = self.workspace.folder(STAGE_FOLDERS.get(stage, stage), key, *dump)
        return folder if folder.finished else None

    def class_margins(self) -> ClassMargins:
        """Pixels and margins of each cluster, over all masks.

        Margins are NaN where masks come from an earlier version that did not keep them.
        """
        clusters = self.whole("clusters")
        count = class_count(clusters) if clusters else 0
        parts = [part for entry in self.catalog.values() if (part := entry.stages.get("masks"))]
        unknown = np.full(count, np.nan)
        pixels = np.array([part["pixels"] for part in parts], np.int64).reshape(-1, count)
        margins = [part.get("margins", unknown) for part in parts]
        sums = np.array(margins, np.float64).reshape(-1, count).sum(axis=0)
        return ClassMargins(pixels.sum(axis=0), sums / MARGIN_LEVELS)

    def pretrained(self) -> list[dict[str, Any]]:
        """Every backbone that was trained here: name, where its weights are, figures."""
        keys = self.workspace.storage.names(layout.PRETRAIN)
        folders = [self.workspace.folder(layout.PRETRAIN, key) for key in keys]
        return [
            {
                "backbone": manifest["start"]["name"],
                "weights": self.workspace.storage.full(f"{folder.path}/{layout.WEIGHTS_FILE}"),
                "dump": manifest["inputs"]["dump"],
                **{name: manifest[name] for name in ("loss", "collapsed", "quality")},
            }
            for folder in folders
            if (manifest := folder.manifest_or_none())
        ]

    def automatic_names(self) -> list[str]:
        """Name of each cluster before people named any: its matched class, from the first scored
        dump, else the name that it was imported with, else a number.

        The training dumps come first in order of arrival, so later dumps never rename a class.
        """
        clusters = self.whole("clusters")
        if clusters and "taught" in clusters:
            return list(clusters["names"])
        numbers = [numbered(i) for i in range(class_count(clusters) if clusters else 0)]
        scored = self.last_run.get("scores", {})
        for dump in self.dumps if scored else ():
            scores = self.scores(dump)
            if scores and len(scores["matching"].get("stego", ())) == len(numbers):
                overlap = np.asarray(scores["confusion"]["stego"])
                return [
                    scores["classes"][cls] if cls >= 0 and overlap[cls, i] else numbers[i]
                    for i, cls in enumerate(scores["matching"]["stego"])
                ]
        return list((clusters or {}).get("names") or numbers)


def class_count(clusters: Mapping[str, Any]) -> int:
    """K, from the manifest of clusters; up to version 1 it stands among their options only."""
    return int(clusters.get("classes") or clusters["options"]["classes"])


def cluster_count(clusters: Mapping[str, Any]) -> int:
    """K without the classes that people added, from the manifest of clusters."""
    return int(clusters.get("taught", {}).get("clusters") or class_count(clusters))
