"""How long stages took in the workspace's last run, scaled to what there is to do now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.explorer.times.planned import TRAINED
from tasks.workspace import layout
from tasks.workspace.summary import Summary

NEWEST = 16
"""Dumps whose stages tell how fast they are."""


@dataclass
class Pace:
    """Seconds that some stage took, and for how many rows."""

    seconds: float = 0.0
    rows: float = 0.0

    def add(self, manifest: Mapping[str, Any] | None, rows: float | None = None) -> None:
        """Count what a manifest tells; a run that went on with another computed a part only."""
        spent = (manifest or {}).get("seconds", {})
        if manifest and spent.get("shards_computed"):
            whole = manifest["shards"] / spent["shards_computed"]
            self.seconds += spent["wall"] * whole
            self.rows += manifest["rows"] if rows is None else rows

    def of(self, rows: float) -> float | None:
        """Seconds of so many rows; None where nothing is known."""
        return self.seconds / self.rows * rows if self.rows else None

    def whole(self) -> float | None:
        """Seconds of as much as before."""
        return self.of(self.rows)


@dataclass
class Earlier:
    """The workspace's paces by stage, of its newest dumps, and the images of all.

    Attributes:
        paces: by stage.
        images: of each dump.
        embedded: dumps whose features are there.
        crops: of the newest dumps' images.
        cropped: those images.
    """

    paces: dict[str, Pace]
    images: dict[str, int]
    embedded: set[str] = field(default_factory=set)
    crops: int = 0
    cropped: int = 0

    @classmethod
    def of(cls, summary: Summary) -> "Earlier":
        """What the manifests of a workspace tell."""
        names = ("corpus", "features", "neighbors", "masks", *TRAINED)
        images = {dump: entry.corpus["images"] for dump, entry in summary.catalog.items()}
        embedded = {dump for dump in images if summary.done("features", dump)}
        found = cls({name: Pace() for name in names}, images, embedded)
        for dump in list(images)[-NEWEST:]:
            found.paces["corpus"].add(summary.workspace.corpus(dump).manifest())
            features = summary.manifest("features", dump)
            if features:
                found.paces["features"].add(features, features["images"])
                found.crops += features["rows"]
                found.cropped += images[dump]
            for stage in ("neighbors", "masks"):
                found.paces[stage].add(summary.manifest(stage, dump))
        found._add_trained(summary)
        return found

    def _add_trained(self, summary: Summary) -> None:
        self.paces["head"].add(summary.whole("head"))
        self.paces["clusters"].add(clusters := summary.whole("clusters"))
        if clusters and "clusters" in summary.keys:
            path = layout.clusters(summary.keys["clusters"])
            for stage, where in (("codes", layout.codes(path)), ("k-means", layout.restarts(path))):
                self.paces[stage].add(summary.workspace.folder(where).manifest_or_none())

    def _crops(self, images: float) -> float:
        """Crops of so many images, as many of each as before."""
        return self.crops / max(self.cropped, 1) * images

    def of_more(self, images: int) -> dict[str, float | None]:
        """Seconds of each stage that labels so many new images."""
        stages = {name: self.paces[name].of(images) for name in ("corpus", "features", "masks")}
        return {**stages, "neighbors": self.paces["neighbors"].of(self._crops(images))}

    def of_retraining(self) -> dict[str, float | None]:
        """Seconds of each stage that trains on all dumps, and labels them again; by title where a
        dump has its own.

        Features that are there stay. That a crop is compared with more others than before is left
        out: it is the least of the stages.
        """
        seconds = {name: self.paces[name].whole() for name in ("head", "k-means", "clusters")}
        for dump, images in self.images.items():
            new = self.paces["features"].of(images)
            seconds[f"features {dump}"] = 0.0 if dump in self.embedded else new
            seconds[f"masks {dump}"] = self.paces["masks"].of(images)
            seconds[f"neighbors {dump}"] = self.paces["neighbors"].of(self._crops(images))
        seconds["codes"] = self.paces["codes"].of(self._crops(sum(self.images.values())))
        return seconds
