"""Masks of one dump with finished clusters, and their scores where the dump has labels."""

from dataclasses import dataclass

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
    """A dump that is to be labelled and scored, and how.

    Attributes:
        workspace: that holds its index.
        dump: its name.
        masks: how its masks are made.
        scores: how they are scored.
        compute: where the work runs.
    """

    workspace: Workspace
    dump: str
    masks: MasksOptions
    scores: ScoresOptions
    compute: ComputeOptions

    @property
    def location(self) -> str:
        """URI of the workspace, for stage flows."""
        return self.workspace.storage.uri

    def masks_of(self, clusters_key: str) -> str:
        """Label the dump's pixels with these clusters; returns the masks' key."""
        return stages.masks_flow(self.location, self.dump, clusters_key, self.masks, self.compute)

    def scores_of(self, clusters_key: str, baseline_key: str | None) -> str:
        """Score the masks of these clusters beside those of a baseline; returns the scores' key."""
        return stages.scores_flow(
            self.location,
            self.dump,
            clusters_key,
            baseline_key,
            self.masks,
            self.scores,
            self.compute,
        )


def label_dump(labelling: Labelling, keys: dict[str, str]) -> None:
    """Masks of a dump, and its scores where it has labels; what is current follows.

    Args:
        labelling: which dump, and how.
        keys: of the stages before; the masks' is added.
    """
    with run_record.labelling(labelling.dump):
        keys["masks"] = labelling.masks_of(keys["clusters"])
    place = labelling.workspace
    place.update_last_run(keys={**place.last_run()["keys"], **keys})
    score_dump(labelling, keys)


def score_dump(labelling: Labelling, keys: dict[str, str]) -> None:
    """Scores of a labelled dump, and their spread over seeds where some are asked for."""
    place, dump = labelling.workspace, labelling.dump
    if not place.corpus(dump).manifest()["labelled"]:
        return
    key, baseline_keys = _score(labelling, keys["clusters"])
    keys |= baseline_keys
    current = place.last_run()
    before, spread = current.get("scores", {}), dict(current.get("spread", {}))
    if before.get(dump) != key:
        spread.pop(dump, None)  # it was that of other masks
    place.update_last_run(
        keys={**current["keys"], **keys}, scores={**before, dump: key}, spread=spread
    )
    by_seed = {}
    for seed in labelling.scores.seed_list():
        clusters_key = clusters_from_seed(place, keys["clusters"], seed, labelling.compute)
        labelling.masks_of(clusters_key)
        by_seed[seed], _ = _score(labelling, clusters_key)
    if by_seed:
        place.update_last_run(spread={**spread, dump: spread_over_seeds(place, dump, by_seed)})


def _score(labelling: Labelling, clusters_key: str) -> tuple[str, dict[str, str]]:
    """Key of the scores of a dump's masks, and the keys of the baseline beside them."""
    keys: dict[str, str] = {}
    imported = "imported" in labelling.workspace.folder(layout.clusters(clusters_key)).manifest()
    if labelling.scores.baseline and not imported:  # it needs features of the training images
        keys = baseline(labelling, clusters_key)
    return labelling.scores_of(clusters_key, keys.get("baseline_clusters")), keys


def baseline(labelling: Labelling, clusters_key: str) -> dict[str, str]:
    """k-means on the raw features with the same K, restarts, seed and refinement."""
    clusters = labelling.workspace.folder(layout.clusters(clusters_key)).manifest()
    inputs = clusters["inputs"]
    dumps = [name for name, _ in inputs["dumps"]]
    options = built("clusters", {**clusters["options"], "classes": class_count(clusters)})
    key = stages.clusters_flow(
        labelling.location, inputs["features"], heads.IDENTITY, dumps, options, labelling.compute
    )
    return {"baseline_clusters": key, "baseline_masks": labelling.masks_of(key)}


def clusters_from_seed(
    workspace: Workspace, clusters_key: str, seed: int, compute: ComputeOptions
) -> str:
    """Clusters made as these were, head included, but from another seed; returns their key.

    Raises:
        OptionError: they were imported, so nothing tells how they were made.
    """
    clusters = workspace.folder(layout.clusters(clusters_key)).manifest()
    if "imported" in clusters:
        raise OptionError("an imported model has one seed only; leave out --seeds")
    head = workspace.folder(layout.head(clusters["inputs"]["head"])).manifest()
    location, features = workspace.storage.uri, clusters["inputs"]["features"]
    dumps = [name for name, _ in clusters["inputs"]["dumps"]]
    head_options = built("head", {**head["options"], "seed": seed})
    head_key = stages.head_flow(
        location, features, head["inputs"]["neighbors"], dumps, head_options, compute
    )
    options = built("clusters", {**clusters["options"], "seed": seed})
    return stages.clusters_flow(location, features, head_key, dumps, options, compute)
