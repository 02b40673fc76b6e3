"""Masks of one dump with finished clusters, and their scores where the dump has labels."""

from dataclasses import dataclass, replace
from typing import Any

from flows.reporting import run_record
from flows.runs import stages
from flows.runs.picie import PicieRecipe, picie_flow, picie_masks_flow
from flows.runs.settings import built
from flows.runs.stages import Baselines
from stego_core.errors import OptionError
from tasks.head import heads
from tasks.options import ComputeOptions, MasksOptions, ScoresOptions
from tasks.scores.spread import spread_over_seeds
from tasks.workspace import layout
from tasks.workspace.summary import cluster_count
from tasks.workspace.workspace import Workspace


@dataclass(frozen=True)
class Labelling:
    """A dump that is to be labelled and scored, and how; `picie` None: not beside PiCIE."""

    workspace: Workspace
    dump: str
    masks: MasksOptions
    scores: ScoresOptions
    compute: ComputeOptions
    picie: PicieRecipe | None = None

    def masks_of(self, clusters_key: str) -> str:
        """Label the dump's pixels with these clusters; returns the masks' key."""
        return stages.masks_flow(self.workspace, self.dump, clusters_key, self.masks, self.compute)

    def scores_of(self, clusters_key: str, baselines: Baselines) -> str:
        """Score the masks of these clusters beside those of baselines; returns the scores' key."""
        own = self.masks, self.scores, self.compute
        return stages.scores_flow(self.workspace, self.dump, clusters_key, baselines, *own)

    def from_seed(self, seed: int) -> "Labelling":
        """The same with a PiCIE from another seed."""
        return replace(self, picie=self.picie.with_seed(seed)) if self.picie else self


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
        by_seed[seed], _ = _score(labelling.from_seed(seed), clusters_key)
    if by_seed:
        workspace.update_last_run(
            spread={**spread, dump: spread_over_seeds(workspace, dump, by_seed)}
        )


def _score(labelling: Labelling, clusters_key: str) -> tuple[str, dict[str, str]]:
    """Key of the scores of a dump's masks, and the keys of the baselines beside them."""
    clusters = labelling.workspace.folder(layout.clusters(clusters_key)).manifest()
    keys: dict[str, str] = {}
    if labelling.scores.baseline and "imported" not in clusters:  # it needs training features
        keys = baseline(labelling, clusters)
        if labelling.picie is not None:
            keys |= picie_baseline(labelling, labelling.picie, clusters)
    baselines = Baselines(keys.get("baseline_clusters"), keys.get("picie"))
    return labelling.scores_of(clusters_key, baselines), keys


def baseline(labelling: Labelling, clusters: dict[str, Any]) -> dict[str, str]:
    """k-means on the features behind these clusters: same K, restarts, seed and refinement."""
    rows = stages.trained_rows(labelling.workspace, clusters)
    options = built("clusters", {**clusters["options"], "classes": cluster_count(clusters)})
    key = stages.clusters_flow(rows, heads.IDENTITY, options, labelling.compute)
    return {"baseline_clusters": key, "baseline_masks": labelling.masks_of(key)}


def picie_baseline(
    labelling: Labelling, recipe: PicieRecipe, clusters: dict[str, Any]
) -> dict[str, str]:
    """PiCIE, trained on the images behind these clusters unless others are named: same K."""
    workspace, compute = labelling.workspace, labelling.compute
    dumps = recipe.dumps or [name for name, _ in clusters["inputs"]["dumps"]]
    key = picie_flow(workspace, dumps, recipe, cluster_count(clusters), compute)
    masks = picie_masks_flow(workspace, labelling.dump, key, labelling.masks, compute)
    return {"picie": key, "picie_masks": masks}


def clusters_from_seed(labelling: Labelling, clusters_key: str, seed: int) -> str:
    """Key of clusters made as these were, head included, but from another seed; OptionError if
    they were imported, so that nothing tells how they were made, or taught, so that another seed
    would need lessons of its own.
    """
    workspace, compute = labelling.workspace, labelling.compute
    clusters = workspace.folder(layout.clusters(clusters_key)).manifest()
    if "imported" in clusters or "taught" in clusters:
        raise OptionError("an imported or a taught model has one seed only; leave out --seeds")
    head = workspace.folder(layout.head(clusters["inputs"]["head"])).manifest()
    rows = stages.trained_rows(workspace, clusters)
    head_options = built("head", {**head["options"], "seed": seed})
    head_key = stages.head_flow(rows, head["inputs"]["neighbors"], head_options, compute)
    options = built("clusters", {**clusters["options"], "seed": seed})
    return stages.clusters_flow(rows, head_key, options, compute)


def checkpoint_steps(steps: int, count: int) -> list[int]:
    """The steps after each of `count` equal parts of a training, without repetition, rising."""
    return sorted({max(steps * part // count, 1) for part in range(1, count + 1)})


def heads_on_the_way(labelling: Labelling, clusters: dict[str, Any], count: int) -> dict[int, str]:
    """Keys of the heads behind some clusters after each of `checkpoint_steps`, by these steps.

    No rate of the training depends on its length, so a head of fewer steps is a checkpoint of a
    longer training. Where one was not kept, it is trained, and leaves those of still fewer steps.
    """
    workspace = labelling.workspace
    head = workspace.folder(layout.head(clusters["inputs"]["head"])).manifest()
    rows, table = stages.trained_rows(workspace, clusters), head["inputs"]["neighbors"]
    steps = checkpoint_steps(head["options"]["steps"], count)
    found: dict[int, str] = {}
    for number in reversed(range(len(steps))):
        options = built("head", {**head["options"], "steps": steps[number]})
        shared = steps[:number], list(found.values())
        key = stages.head_flow(rows, table, options, labelling.compute, *shared)
        found[steps[number]] = key
    return dict(sorted(found.items()))


def score_checkpoints(
    labelling: Labelling, clusters_key: str, count: int
) -> list[dict[str, float | None]]:
    """Accuracy and mIoU, in percent, after each of `count` equal parts of the head's training.

    Clusters are made of each head as of the last, the run's own. The probe and the baseline are
    not scored.
    """
    workspace, compute = labelling.workspace, labelling.compute
    clusters = workspace.folder(layout.clusters(clusters_key)).manifest()
    rows, own = stages.trained_rows(workspace, clusters), built("clusters", clusters["options"])
    only_masks = replace(labelling, scores=ScoresOptions(linear_probe=False, baseline=False))
    figures = []
    for steps, head_key in heads_on_the_way(labelling, clusters, count).items():
        key = stages.clusters_flow(rows, head_key, own, compute)
        only_masks.masks_of(key)
        scored = workspace.folder(
            layout.SCORES, only_masks.scores_of(key, Baselines(None, None)), labelling.dump
        )
        scores = scored.manifest()["scores"]
        figures.append({"steps": steps, "accuracy": scores["accuracy"], "miou": scores["miou"]})
    return figures
