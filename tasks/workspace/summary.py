"""What a workspace holds, gathered from its manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stego_core.errors import WorkspaceError
from stego_core.masks.margins import MarginSums
from tasks.workspace import layout
from tasks.workspace.layout import WEIGHTS_FILE
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

PREPARED = layout.PREPARED
"""Where the squares of published data sets lie, by dump."""
METHODS = {
    "STEGO": "",
    "STEGO, many-to-one": "many_",
    "k-means on raw features": "baseline_",
    "linear probe (uses labels)": "linear_",
}
"""What is scored, for people, and how the names of its figures begin."""


@dataclass(frozen=True)
class Summary:
    """Read-only view of a workspace's finished stages.

    Attributes:
        workspace: the workspace.
    """

    workspace: Workspace

    @cached_property
    def current(self) -> dict[str, Any]:
        """What the last run settled on; empty before the first."""
        return self.workspace.current_or_none() or {}

    @property
    def keys(self) -> dict[str, str]:
        """Current key of each stage."""
        return dict(self.current.get("keys", {}))

    def require(self, stage: str) -> str:
        """Current key of a stage.

        Raises:
            WorkspaceError: the stage has not been run.
        """
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
            key = self.current.get("neighbors", {}).get(dump)
        if key is None:
            return None
        zarr = ".zarr" if stage in {"features", "neighbors"} else ""
        folder = self.workspace.folder(stage.split("_")[-1], key, f"{dump}{zarr}")
        return folder if folder.finished else None

    def manifest(self, stage: str, dump: str) -> dict[str, Any] | None:
        """The current manifest of a stage and dump, if it is finished."""
        folder = self.folder(stage, dump)
        return folder.manifest() if folder else None

    def whole(self, stage: str) -> dict[str, Any] | None:
        """The current manifest of a stage that has no dumps: head or clusters."""
        key = self.keys.get(stage)
        folders = {"head": "heads"}
        folder = self.workspace.folder(folders.get(stage, stage.split("_")[-1]), key or "none")
        return folder.manifest() if key and folder.finished else None

    def scores(self, dump: str) -> dict[str, Any] | None:
        """The scores' manifest of a dump's current masks, if there is one."""
        key = self.current.get("scores", {}).get(dump)
        folder = self.workspace.folder(layout.SCORES, key or "none", dump)
        return folder.manifest() if key and folder.finished else None

    def sure(self) -> MarginSums:
        """How sure the pixels of each cluster are, in all masks; not a number what an earlier
        version, which made some, did not keep.
        """
        clusters = self.whole("clusters")
        found = [self.manifest("masks", dump) for dump in self.dumps]
        parts = (MarginSums.from_document(manifest) for manifest in found if manifest)
        return MarginSums.total(parts, class_count(clusters) if clusters else 0)

    def pretrained(self) -> list[dict[str, Any]]:
        """Every backbone that was trained here: name, where its weights are, figures."""
        keys = self.workspace.storage.names(layout.PRETRAIN)
        folders = [self.workspace.folder(layout.PRETRAIN, key) for key in keys]
        return [
            {
                "backbone": manifest["start"]["name"],
                "weights": self.workspace.storage.full(f"{folder.path}/{WEIGHTS_FILE}"),
                "dump": manifest["inputs"]["dump"],
                **{name: manifest[name] for name in ("loss", "collapsed", "quality")},
            }
            for folder in folders
            if folder.finished and (manifest := folder.manifest())
        ]

    def found_names(self) -> list[str]:
        """Name of each cluster before people named any: its matched class, from the first scored
        dump, else the name that it was imported with, else a number.

        The training dumps come first in order of arrival, so later dumps never rename a class.
        """
        clusters = self.whole("clusters")
        count = class_count(clusters) if clusters else 0
        numbers = [f"cluster {i}" for i in range(count)]
        names = list((clusters or {}).get("names") or numbers)
        for dump in self.dumps:
            scored = self.scores(dump)
            if scored:
                overlap = np.asarray(scored["confusion"]["stego"])
                matched = enumerate(scored["matching"]["stego"])
                return [
                    scored["classes"][cls] if cls >= 0 and overlap[cls, i] else numbers[i]
                    for i, cls in matched
                ]
        return names


def class_count(clusters: Mapping[str, Any]) -> int:
    """K, from the manifest of clusters; up to version 1 it stands among their options only."""
    return int(clusters.get("classes") or clusters["options"]["classes"])
