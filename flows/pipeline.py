"""The whole pipeline: stage flows in order, and what is current afterwards."""

from typing import Any

from prefect import flow

from flows import artifacts, record, stages
from flows.classcount import with_classes
from flows.frames import indexed
from flows.outage import told_apart
from flows.session import session
from flows.settings import FormOptions, RunOptions, built
from stego_core.errors import OptionError
from tasks import enough, model, scores
from tasks.listing import default_dump
from tasks.log import Log
from tasks.options import ComputeOptions, CorpusOptions, MasksOptions, ScoresOptions
from tasks.summary import class_count
from tasks.workspace.workspace import Workspace

log = Log(__name__)


@flow(name="pipeline", flow_run_name="pipeline {workspace}")
@told_apart
def pipeline(
    *,
    images: str | None = None,
    workspace: str,
    labels: str | None = None,
    taxonomy: str | None = None,
    dump: str | None = None,
    options: FormOptions | None = None,
) -> dict[str, Any]:
    """Label every pixel of a folder of images, from nothing to the report.

    Args:
        images: This folder or URI of images and videos is searched. Like the next fields, it
            wins over the field of the same name in `options.corpus`.
        workspace: This folder or URI holds all outcomes; it is made if there is none.
        labels: This folder or URI holds label images of the same relative path; they only score.
        taxonomy: This JSON file holds the class names of the labels.
        dump: This names the images in the workspace. By default it is the last part of their path.
        options: These are all other options, by stage; their defaults work without tuning.

    Returns:
        keys of all stages, the report's place.

    Raises:
        OptionError: no images are given.
    """
    options = options or FormOptions()
    corpus = corpus_of(options.corpus, images=images, labels=labels, taxonomy=taxonomy)
    name = dump or default_dump(corpus.images)
    with session(workspace, options.storage, options.compute):
        indexed(workspace, name, corpus, options.compute)
        require_enough(workspace, [name], options)
        keys, tables = trained(workspace, [name], options)
        settle(workspace, keys, tables, options)
        labelled(workspace, name, keys, options.masks, options.scores, options.compute)
        report = stages.report_flow(workspace)
        artifacts.run_pages(Workspace.open(workspace), report)
        return {"keys": keys, "report": report}


def corpus_of(options: CorpusOptions, **given: str | None) -> CorpusOptions:
    """The corpus of a run: its own fields over what its options say.

    Raises:
        OptionError: no images are given.
    """
    held = options.model_dump(exclude_unset=True)
    held |= {name: value for name, value in given.items() if value}
    if not held.get("images"):
        raise OptionError("no images are given; say in `images` which folder or URI holds them")
    corpus: CorpusOptions = built("corpus", held)
    return corpus


def require_enough(workspace: str, dumps: list[str], options: RunOptions) -> None:
    """Refuse, before any image is embedded, what so many images cannot give.

    Raises:
        CapacityError: there are too few.
    """
    place = Workspace.open(workspace)
    images = sum(int(place.corpus(dump).manifest()["images"]) for dump in dumps)
    settled = with_classes(place, dumps, options.clusters)
    remarks = enough.require_enough(images, options.features, options.neighbors, settled)
    for remark in remarks:
        log.warning(remark)


def trained(
    workspace: str,
    dumps: list[str],
    options: RunOptions,
    backbone: dict[str, Any] | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Features, neighbours, head and clusters of some dumps.

    `backbone` names one that the workspace holds already; without it, the options say which.

    Returns:
        keys of the stages, and the key of each dump's neighbours.
    """
    run = options.compute
    keys: dict[str, str] = {}
    tables: dict[str, str] = {}
    for dump in dumps:
        keys["features"] = stages.features_flow(workspace, dump, options.features, run, backbone)
    for dump in dumps:
        keys["neighbors"] = tables[dump] = stages.neighbors_flow(
            workspace, dump, keys["features"], dumps, options.neighbors, run
        )
    keys["head"] = stages.head_flow(
        workspace, keys["features"], keys["neighbors"], dumps, options.head, run
    )
    keys["clusters"] = stages.clusters_flow(
        workspace, keys["features"], keys["head"], dumps, options.clusters, run
    )
    return keys, tables


def settle(
    workspace: str, keys: dict[str, str], tables: dict[str, str], options: RunOptions
) -> None:
    """Make a run's head and clusters the current ones, those that backfills use.

    What backfills added to the same clusters stays current.
    """
    place = Workspace.open(workspace)
    before = place.current_or_none() or {}
    if before.get("keys", {}).get("clusters") != keys["clusters"]:
        before = {}
    place.settle(
        keys={**before.get("keys", {}), **keys},
        dumps=list(tables),
        neighbors={**before.get("neighbors", {}), **tables},
        scores=before.get("scores", {}),
        spread=before.get("spread", {}),
        drift=before.get("drift", {}),
        options=options.model_dump(
            mode="json",
            exclude={
                **dict.fromkeys(("corpus", "storage", "compute"), True),
                "features": {"weights"},
                "scores": {"seeds"},  # asked for once: a backfill costs its dump's own size
            },
        ),
    )


def labelled(
    workspace: str,
    dump: str,
    keys: dict[str, str],
    mask_options: MasksOptions,
    score_options: ScoresOptions,
    run: ComputeOptions,
) -> None:
    """Masks of a dump, and its scores where it has labels."""
    with record.labelling(dump):
        keys["masks"] = stages.masks_flow(workspace, dump, keys["clusters"], mask_options, run)
    place = Workspace.open(workspace)
    place.settle(keys={**place.current()["keys"], **keys})
    scored(workspace, dump, keys, mask_options, score_options, run)


def scored(
    workspace: str,
    dump: str,
    keys: dict[str, str],
    mask_options: MasksOptions,
    score_options: ScoresOptions,
    run: ComputeOptions,
) -> None:
    """Scores of a labelled dump, and their spread over seeds where some are asked for."""
    place = Workspace.open(workspace)
    if not place.corpus(dump).manifest()["labelled"]:
        return
    key, rival = _judged(workspace, dump, keys["clusters"], mask_options, score_options, run)
    keys |= rival
    current = place.current()
    before, spread = current.get("scores", {}), dict(current.get("spread", {}))
    if before.get(dump) != key:
        spread.pop(dump, None)  # it was that of other masks
    place.settle(keys={**current["keys"], **keys}, scores={**before, dump: key}, spread=spread)
    found = {}
    for seed in score_options.seed_list():
        clusters_key = reseeded(workspace, keys["clusters"], seed, run)
        stages.masks_flow(workspace, dump, clusters_key, mask_options, run)
        found[seed], _ = _judged(workspace, dump, clusters_key, mask_options, score_options, run)
    if found:
        place.settle(spread={**spread, dump: scores.spread(place, dump, found)})


def _judged(
    workspace: str,
    dump: str,
    clusters_key: str,
    mask_options: MasksOptions,
    score_options: ScoresOptions,
    run: ComputeOptions,
) -> tuple[str, dict[str, str]]:
    """Key of the scores of a dump's masks, and the keys of what they are compared with."""
    rival: dict[str, str] = {}
    imported = "imported" in Workspace.open(workspace).folder("clusters", clusters_key).manifest()
    if score_options.baseline and not imported:  # it needs features of the training images
        rival = baseline(workspace, dump, clusters_key, mask_options, run)
    key = stages.scores_flow(
        workspace,
        dump,
        clusters_key,
        rival.get("baseline_clusters"),
        mask_options,
        score_options,
        run,
    )
    return key, rival


def reseeded(workspace: str, clusters_key: str, seed: int, run: ComputeOptions) -> str:
    """Clusters made as these were, head included, but from another seed; returns their key.

    Raises:
        OptionError: they were imported, so nothing tells how they were made.
    """
    place = Workspace.open(workspace)
    made = place.folder("clusters", clusters_key).manifest()
    if "imported" in made:
        raise OptionError("an imported model has one seed only; leave out --seeds")
    trained = place.folder("heads", made["inputs"]["head"]).manifest()
    features, dumps = made["inputs"]["features"], [name for name, _ in made["inputs"]["dumps"]]
    head_key = stages.head_flow(
        workspace,
        features,
        trained["inputs"]["neighbors"],
        dumps,
        built("head", {**trained["options"], "seed": seed}),
        run,
    )
    options = built("clusters", {**made["options"], "seed": seed})
    return stages.clusters_flow(workspace, features, head_key, dumps, options, run)


def baseline(
    workspace: str, dump: str, clusters_key: str, mask_options: MasksOptions, run: ComputeOptions
) -> dict[str, str]:
    """The rival: k-means on the raw features with the same K, restarts, seed and refinement."""
    clusters = Workspace.open(workspace).folder("clusters", clusters_key).manifest()
    inputs = clusters["inputs"]
    dumps = [name for name, _ in inputs["dumps"]]
    options = built("clusters", {**clusters["options"], "classes": class_count(clusters)})
    rival = stages.clusters_flow(workspace, inputs["features"], model.IDENTITY, dumps, options, run)
    rival_masks = stages.masks_flow(workspace, dump, rival, mask_options, run)
    return {"baseline_clusters": rival, "baseline_masks": rival_masks}
