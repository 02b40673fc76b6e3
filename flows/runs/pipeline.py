"""The whole pipeline: stage flows in order, and what is current afterwards."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import picie, stages
from flows.runs.class_count import with_classes
from flows.runs.index_dump import index_dump
from flows.runs.labelling import Labelling, label_dump
from flows.runs.session import session
from flows.runs.settings import FormOptions, RunOptions, built
from flows.runs.teaching.learning import with_lessons
from stego_core.errors import OptionError
from tasks.corpus.listing import default_dump
from tasks.features import enough_images
from tasks.features.rows import feature_rows
from tasks.log import Log
from tasks.masks.segmenter import refiner, untaught_clusters
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace

log = Log(__name__)


@flow(name="pipeline", flow_run_name="pipeline {workspace}")
@distinguish_outages
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
        OptionError: no images are given, or the CRF's package is not installed.
    """
    options = options or FormOptions()
    refiner(options.masks)  # a package may be missing
    corpus = corpus_of(options.corpus, images=images, labels=labels, taxonomy=taxonomy)
    name = dump or default_dump(corpus.images)
    with session(workspace, options.storage, options.compute, create=True) as opened:
        index_dump(opened, name, corpus, options.compute)
        require_enough(opened, [name], options)
        baseline = picie.requested(opened, options)  # weights may be missing
        keys, tables = train(opened, [name], options)
        make_current(opened, keys, tables, options)
        keys = with_lessons(opened, keys, options.masks, options.compute)
        own = options.masks, options.scores, options.compute
        label_dump(Labelling(opened, name, *own, baseline), keys)
        opened.save_catalog()
        report = stages.report_flow(opened)
        artifacts.run_pages(opened, report)
        return {"keys": keys, "report": report}


def corpus_of(options: CorpusOptions, **given: str | None) -> CorpusOptions:
    """The corpus of a run: its own fields over what its options say; OptionError without images."""
    values = options.model_dump(exclude_unset=True)
    values |= {name: value for name, value in given.items() if value}
    if not values.get("images"):
        raise OptionError("no images are given; say in `images` which folder or URI holds them")
    corpus: CorpusOptions = built("corpus", values)
    return corpus


def require_enough(workspace: Workspace, dumps: list[str], options: RunOptions) -> None:
    """CapacityError, before any image is embedded, where there are too few."""
    images = sum(int(workspace.corpus(dump).manifest()["images"]) for dump in dumps)
    clusters = with_classes(workspace, dumps, options.clusters)
    for remark in enough_images.require_enough(
        images, options.features, options.neighbors, clusters
    ):
        log.warning(remark)


def train(
    workspace: Workspace,
    dumps: list[str],
    options: RunOptions,
    backbone: dict[str, Any] | None = None,
    kept: Sequence[int] = (),
) -> tuple[dict[str, str], dict[str, str]]:
    """Features, neighbours, head and clusters of some dumps.

    `backbone` names one that the workspace holds already; checkpoints of the head after the steps
    `kept` stay. Returns the stages' keys, and the key of each dump's neighbours.
    """
    run = options.compute
    keys: dict[str, str] = {}
    tables: dict[str, str] = {}
    for dump in dumps:
        keys["features"] = stages.features_flow(workspace, dump, options.features, run, backbone)
    rows = feature_rows(workspace, keys["features"], dumps)
    for dump in dumps:
        tables[dump] = stages.neighbors_flow(rows, dump, options.neighbors, run)
        keys["neighbors"] = tables[dump]
    keys["head"] = stages.head_flow(rows, keys["neighbors"], options.head, run, kept)
    keys["clusters"] = stages.clusters_flow(rows, keys["head"], options.clusters, run)
    return keys, tables


def make_current(
    workspace: Workspace, keys: dict[str, str], tables: dict[str, str], options: RunOptions
) -> None:
    """Make a run's head and clusters the current ones, those that backfills use.

    What backfills added to the same clusters stays current.
    """
    before = workspace.last_run_or_none() or {}
    if untaught_clusters(workspace, before.get("keys", {}).get("clusters")) != keys["clusters"]:
        before = {}
    own = dict(before.get("keys", {}))
    if own.get("clusters") != keys["clusters"]:
        own.pop("masks", None)  # taught ones may have more classes
    workspace.update_last_run(
        keys={**own, **keys},
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
                "picie": {"weights"},
                "scores": {"seeds"},  # asked for once: a backfill costs its dump's own size
            },
        ),
    )
