"""What the catalog keeps of one dump: facts of its manifests that are shown for every dump."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Any

import numpy as np

from stego_core.errors import DamageError
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.keys import canonical, digest

Manifest = dict[str, Any]
CORPUS_FIELDS = (
    "sequence", "index", "images_uri", "images", "labelled", "quarantined", "megapixels",
    "left_out", "remarks", "taxonomy", "highest_label",
)  # fmt: skip
"""Fields of a corpus manifest that are kept as they are."""
VALUES_FIELDS = ("told", "warnings", "no_data")
"""Fields of what a dump's numbers mean that are kept as they are."""
STAGES = ("features", "neighbors", "masks", "scores")
"""Stages that a dump has gone through or not, under a key that the last run names."""
ZARR_STAGES = {"features", "neighbors"}
"""Stages whose outcome for a dump is a Zarr group."""
UNUSED_BEFORE = (layout.FRAMES, layout.PREPARED)
"""Folders of what comes before an index, where files may have been left out, too."""
UNCERTAIN_IMAGES = 8
"""The most uncertain images of each dump that are kept."""
UNCERTAIN_SINCE = 5
"""The version of masks since which each image's uncertainty is stored."""
MARGIN_LEVELS = 255
"""A margin of 1 in the bytes that it is stored as."""
UNREAD = ("features", "masks")
"""Stages that name images of the index which they could not read."""
DIGITS = 8
"""Hexadecimal digits that tell forms of files apart."""


@dataclass(frozen=True)
class DumpEntry:
    """A dump as the catalog knows it; a pure function of manifests, which stay the truth.

    Attributes:
        corpus: the fields of its manifest in CORPUS_FIELDS, and of its `values`.
        stages: by stage that is finished, its key and what is shown of it.
        unused: files that got no row in the index, and labels that were left out.
        unread_twice: images of the index that both stages of UNREAD could not read.
    """

    corpus: Manifest
    stages: dict[str, Manifest]
    unused: int
    unread_twice: int

    @property
    def quarantined(self) -> int:
        """Files that some stage could not use."""
        unread = sum(self.stages.get(stage, {}).get("unread", 0) for stage in UNREAD)
        return int(self.unused + unread - self.unread_twice)

    def key(self, stage: str) -> str | None:
        """The key under which a stage is finished; None where it is not."""
        key: str | None = self.stages.get(stage, {}).get("key")
        return key

    def document(self) -> Manifest:
        """For the catalog's file."""
        return dict(vars(self))

    def only(self, keys: Mapping[str, str]) -> "DumpEntry":
        """Without the stages that are finished under other keys than these."""
        stages = {s: part for s, part in self.stages.items() if part["key"] == keys.get(s)}
        twice = self.unread_twice if all(stage in stages for stage in UNREAD) else 0
        return replace(self, stages=stages, unread_twice=twice)

    @classmethod
    def of(cls, manifests: Mapping[str, Manifest | None], keys: Mapping[str, str]) -> "DumpEntry":
        """From the manifests by folder, and the keys of the stages among them.

        The masks' most uncertain images are no part of a manifest; see `uncertain_images`.
        """
        corpus = manifests[layout.CORPUS] or {}
        before = (manifests.get(folder) or {} for folder in UNUSED_BEFORE)
        given = {stage: manifests.get(stage) for stage in STAGES}
        finished = {stage: part for stage, part in given.items() if part is not None}
        unread = [set(finished.get(stage, {}).get("invalid", ())) for stage in UNREAD]
        return cls(
            corpus_part(corpus),
            {s: {"key": keys[s], **_stage_part(s, part)} for s, part in finished.items()},
            corpus.get("quarantined", 0) + sum(part.get("quarantined", 0) for part in before),
            len(set.intersection(*unread)),
        )


def path_of(stage: str, key: str, dump: str) -> str:
    """The folder of a stage's outcome for a dump."""
    return f"{stage}/{key}/{layout.zarr(dump) if stage in ZARR_STAGES else dump}"


def corpus_part(manifest: Manifest) -> Manifest:
    """What an entry keeps of a corpus manifest; forms of files are told apart by digests."""
    part = {name: manifest[name] for name in CORPUS_FIELDS if manifest.get(name) is not None}
    if "values" in manifest:
        values = manifest["values"]
        forms = [digest(canonical(r["form"]))[:DIGITS] for r in values.get("renderings", ())]
        part["values"] = {name: values[name] for name in VALUES_FIELDS} | {"forms": forms}
    return part


def _stage_part(stage: str, manifest: Manifest) -> Manifest:
    if stage == "scores":
        return {"scores": manifest["scores"], "methods": sorted(manifest["matching"])}
    if stage == "neighbors":
        return {}
    part: Manifest = {"unread": len(manifest.get("invalid", ()))}
    if stage == "features":
        return part
    part |= {name: manifest.get(name) for name in ("masks", "flicker", "version", "pixels")}
    if "margins" in manifest:  # sums of bytes over MARGIN_LEVELS: whole numbers are exact
        margins = np.rint(np.asarray(manifest["margins"], np.float64) * MARGIN_LEVELS)
        part["margins"] = margins.astype(np.int64).tolist()
    return part


def uncertain_images(storage: Storage, masks: Manifest, dump: str) -> list[list[float]] | None:
    """Number in the table of confidence, row and uncertainty of a dump's most uncertain images,
    those first; None where its masks came without them, or their table cannot be read.

    Args:
        masks: the part of the dump's entry.
    """
    if (masks["version"] or 0) < UNCERTAIN_SINCE:
        return None
    path = f"{path_of(layout.MASKS, masks['key'], dump)}/{layout.CONFIDENCE_FILE}"
    best: list[tuple[float, int, int]] = []
    seen = 0
    try:
        for part in tables.stream_columns(storage, path, ("row", "doubt")):
            rows, doubts = part["row"].tolist(), part["doubt"]
            first = np.argsort(-doubts, kind="stable")[:UNCERTAIN_IMAGES].tolist()
            found = ((-float(doubts[number]), seen + number, rows[number]) for number in first)
            best = nsmallest(UNCERTAIN_IMAGES, [*best, *found])
            seen += len(rows)
    except (FileNotFoundError, DamageError):
        return None  # whoever reads the whole table says so
    return [[number, row, -doubt] for doubt, number, row in best]
