"""Masks of one dump with finished clusters, and their scores where the dump has labels."""

from dataclasses import dataclass
from typing import Any

from flows.reporting import run_record
from flows.runs import stages
from flows.runs.settings import built
from stego_core.errors import OptionError
from tasks.head import heads
from tasks.options import ComputeOptions, MasksOptions, ScoresOptions
from tasks.scores.spread import spread_over_seeds
from tasks.workspace import layout
from tasks.workspace.summary import class_count
from tasks.workspace.workspace import Workspace


@dataclass(frozen=True)
class Labelling:
    """A dump that is to be labelled and scored, and how."""

    workspace: Workspace
    dump: str
    masks: MasksOptions
    scores: ScoresOptions
    compute: ComputeOptions

    def masks_of(self, clusters_key: str) -> str:
        """Label the dump's pixels with these clusters; returns the masks' key."""
        return stages.masks_flow(self.workspace, self.dump, clusters_key, self.masks, self.compute)

    def scores_of(self, clusters_key: str, baseline_key: str | None) -> str:
        """Score the masks of these clusters beside those of a baseline; returns the scores' key."""
        own = self.masks, self.scores, self.compute
        return stages.scores_flow(self.workspace, self.dump, clusters_key, baseline_key, *own)


def label_dump(labelling: Labelling, keys: dict[str, str]) -> None:
    """Masks of a dump, and its scores where it has labels; what is current follows. Their keys
    are added to those of the stages before.
    """
    with run_record.labelling(labelling.dump):
        keys["masks"] = labelling.masks_of(keys["clusters"])
    workspace = labelling.workspace
    workspace.update_last_run(keys={**workspace.last_run()["keys"], **keys})
    score_dump(labelling, keys)


def score_dump(labelling: Labelling, keys: dict[str, str]) -> None:
    """Scores of a labelled dump, and their spread over seeds where some are asked for."""
    workspace, dump = labelling.workspace, labelling.dump
    if not workspace.corpus(dump).manifest()["labelled"]:
        return
    key, baseline_keys = _score(labelling, keys["clusters"])
    keys |= baseline_keys
    current = workspace.last_run()
    scores, spread = current.get("scores", {}), dict(current.get("spread", {}))
    if scores.get(dump) != key:
        spread.pop(dump, None)  # it was that of other masks
    workspace.update_last_run(
        keys={**current["keys"], **keys}, scores={**scores, dump: key}, spread=spread
    )
    by_seed = {}
    for seed in labelling.scores.seed_list():
        clusters_key = clusters_from_seed(labelling, keys["clusters"], seed)
        labelling.masks_of(clusters_key)
        by_seed[seed], _ = _score(labelling, clusters_key)
    if by_seed:
        workspace.update_last_run(
            spread={**spread, dump: spread_over_seeds(workspace, dump, by_seed)}
        )


def _score(labelling: Labelling, clusters_key: str) -> tuple[str, dict[str, str]]:
    """Key of the scores of a dump's masks, and the keys of the baseline beside them."""
    clusters = labelling.workspace.folder(layout.clusters(clusters_key)).manifest()
    keys: dict[str, str] = {}
    if labelling.scores.baseline and "imported" not in clusters:  # it needs training features
        keys = baseline(labelling, clusters)
    return labelling.scores_of(clusters_key, keys.get("baseline_clusters")), keys


def baseline(labelling: Labelling, clusters: dict[str, Any]) -> dict[str, str]:
    """k-means on the features behind these clusters: same K, restarts, seed and refinement."""
    rows = stages.trained_rows(labelling.workspace, clusters)
    options = built("clusters", {**clusters["options"], "classes": class_count(clusters)})
    key = stages.clusters_flow(rows, heads.IDENTITY, options, labelling.compute)
    return {"baseline_clusters": key, "baseline_masks": labelling.masks_of(key)}


def clusters_from_seed(labelling: Labelling, clusters_key: str, seed: int) -> str:
    """Key of clusters made as these were, head included, but from another seed; OptionError if
    they were imported, so that nothing tells how they were made.
    """
    workspace, compute = labelling.workspace, labelling.compute
    clusters = workspace.folder(layout.clusters(clusters_key)).manifest()
    if "imported" in clusters:
        raise OptionError("an imported model has one seed only; leave out --seeds")
    head = workspace.folder(layout.head(clusters["inputs"]["head"])).manifest()
    rows = stages.trained_rows(workspace, clusters)
    head_options = built("head", {**head["options"], "seed": seed})
    head_key = stages.head_flow(rows, head["inputs"]["neighbors"], head_options, compute)
    options = built("clusters", {**clusters["options"], "seed": seed})
    return stages.clusters_flow(rows, head_key, options, compute)
