"""What a workspace holds, gathered from its manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stego_core.errors import WorkspaceError
from stego_core.labels.class_names import numbered
from stego_core.masks.margins import MarginSums
from tasks.workspace import layout
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

METHODS = {
    "STEGO": "",
    "STEGO, many-to-one": "many_",
    "k-means on raw features": "baseline_",
    "linear probe (uses labels)": "linear_",
}
"""The methods that are scored, for people, and how the names of their figures begin."""
STAGE_FOLDERS = {
    "head": layout.HEADS,
    "baseline_clusters": layout.CLUSTERS,
    "baseline_masks": layout.MASKS,
}
"""The folder of a stage's outcome, where it has another name than the stage."""
ZARR_STAGES = {"features", "neighbors"}  # stages whose outcome for a dump is a Zarr group


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
    def dumps(self) -> list[str]:
        """Finished dumps in order of arrival."""
        return self.workspace.dumps()

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

    def margin_sums(self) -> MarginSums:
        """Sums of the confidence margins of each cluster's pixels, over all masks.

        They are NaN where masks come from an earlier version that did not keep them.
        """
        clusters = self.whole("clusters")
        manifests = [self.manifest("masks", dump) for dump in self.dumps]
        sums = (MarginSums.from_document(manifest) for manifest in manifests if manifest)
        return MarginSums.total(sums, class_count(clusters) if clusters else 0)

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
        numbers = [numbered(i) for i in range(class_count(clusters) if clusters else 0)]
        for dump in self.dumps:
            if scores := self.scores(dump):
                overlap = np.asarray(scores["confusion"]["stego"])
                return [
                    scores["classes"][cls] if cls >= 0 and overlap[cls, i] else numbers[i]
                    for i, cls in enumerate(scores["matching"]["stego"])
                ]
        return list((clusters or {}).get("names") or numbers)


def class_count(clusters: Mapping[str, Any]) -> int:
    """K, from the manifest of clusters; up to version 1 it stands among their options only."""
    return int(clusters.get("classes") or clusters["options"]["classes"])
