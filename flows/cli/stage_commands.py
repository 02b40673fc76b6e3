"""The commands of one stage each: it takes up what the stage before it left current."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.flags import Common, Dump, Dumps, Shown, Working, command, listed
from flows.reporting import console, temporary_server
from flows.runs.settings import Clusters, Corpus, Features, Head, Masks, Neighbors, Scores
from stego_core.errors import InputError, WorkspaceError
from tasks.corpus.listing import default_dump
from tasks.options import (
    ClustersOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    NeighborsOptions,
    Options,
    ScoresOptions,
)
from tasks.report import status
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:
    from tasks.features.rows import FeatureRows

# The flows import torch and Prefect, which takes seconds: each command does so when it runs.
stage = command(continues=True, writes=True)
"""One stage, whose options go on from those of the workspace's last run."""
ORDER = ("features", "neighbors", "head", "clusters", "masks")
"""What a changed stage leaves behind: everything after it, and the scores, is made anew."""


@command(makes=True, writes=True)
def corpus(*, common: Working, dump: Dump = None, corpus: Corpus) -> Shown:
    """Index a dump of images and videos."""
    name = dump or default_dump(corpus.images)
    with temporary_server.beside():
        from flows.runs.index_dump import index_dump

    index_dump(Workspace.create(common.workspace), name, corpus, common.compute, continuing=True)
    return lambda: console.show_values(status.document(Summary(common.opened())), [name])


@stage
def features(
    *, common: Working, dumps: Dumps = None, features: Features = FeaturesOptions()
) -> None:
    """Extract features of dumps, which become those that later stages train on."""
    summary = Summary(common.opened())
    names, backbone = requested_dumps(summary, dumps), _current_backbone(summary, features)
    with temporary_server.beside():
        from flows.runs import stages

    key = ""
    for dump in names:
        key = stages.features_flow(summary.workspace, dump, features, common.compute, backbone)
    _settle(summary, "features", key, features, dumps=names)
    return None


def _current_backbone(summary: Summary, options: FeaturesOptions) -> dict[str, Any] | None:
    """The current backbone where the options name no other weights."""
    current: dict[str, Any] | None = summary.last_run.get("backbone")
    if options.weights is not None or current is None:
        return None
    same = current["name"] == options.backbone and options.layer in (None, current["layer"])
    return current if same else None


@stage
def neighbors(
    *, common: Working, dumps: Dumps = None, neighbors: Neighbors = NeighborsOptions()
) -> None:
    """Find neighbours of dumps, among all the dumps that are trained on."""
    summary = Summary(common.opened())
    features_key = summary.require("features")
    trained = list(summary.last_run["dumps"])
    requested = requested_dumps(summary, dumps) if dumps else trained
    with temporary_server.beside():
        from flows.runs import stages
        from tasks.features.rows import feature_rows

    tables = {}
    for dump in requested:
        searched = [*trained, *([dump] if dump not in trained else [])]
        rows = feature_rows(summary.workspace, features_key, searched)
        tables[dump] = stages.neighbors_flow(rows, dump, neighbors, common.compute)
    merged = {**summary.last_run.get("neighbors", {}), **tables}
    key = tables.get(trained[0], summary.keys.get("neighbors"))
    if key is None:
        summary.workspace.update_last_run(neighbors=merged)
    else:
        _settle(summary, "neighbors", key, neighbors, neighbors=merged)


@stage
def head(*, common: Working, head: Head = HeadOptions()) -> None:
    """Train the head on the current features and neighbours."""
    summary = Summary(common.opened())
    features_key, neighbors_key = summary.require("features"), summary.require("neighbors")
    with temporary_server.beside():
        from flows.runs import stages

    rows = _trained_rows(summary, features_key)
    key = stages.head_flow(rows, neighbors_key, head, common.compute)
    _settle(summary, "head", key, head)


@stage
def clusters(*, common: Working, clusters: Clusters = ClustersOptions()) -> None:
    """Cluster the current head's codes."""
    summary = Summary(common.opened())
    features_key, head_key = summary.require("features"), summary.require("head")
    with temporary_server.beside():
        from flows.runs import stages

    rows = _trained_rows(summary, features_key)
    key = stages.clusters_flow(rows, head_key, clusters, common.compute)
    _settle(summary, "clusters", key, clusters)


@stage
def masks(*, common: Working, dumps: Dumps = None, masks: Masks = MasksOptions()) -> None:
    """Label dumps with the current clusters."""
    summary = Summary(common.opened())
    clusters_key, requested = summary.require("clusters"), requested_dumps(summary, dumps)
    with temporary_server.beside():
        from flows.runs import stages

    key = ""
    for dump in requested:
        key = stages.masks_flow(summary.workspace, dump, clusters_key, masks, common.compute)
    _settle(summary, "masks", key, masks)


@stage
def scores(
    *,
    common: Working,
    dumps: Dumps = None,
    masks: Masks = MasksOptions(),
    scores: Scores = ScoresOptions(),
) -> Shown:
    """Score masks against labels, of those dumps that have both."""
    summary = Summary(common.opened())
    keys = {name: summary.require(name) for name in ("clusters", "masks")}
    ready = [dump for dump in requested_dumps(summary, dumps) if summary.manifest("masks", dump)]
    if not ready:
        raise WorkspaceError("no masks to score are there; run `stego masks` first")
    with temporary_server.beside():
        from flows.runs.labelling import Labelling, score_dump
        from flows.runs.picie import of_last_run

    workspace, run = summary.workspace, common.compute
    baseline = of_last_run(workspace, summary.last_run, scores)
    for dump in ready:
        score_dump(Labelling(workspace, dump, masks, scores, run, baseline), keys)
    stored = scores.model_dump(mode="json", exclude={"seeds"})
    options = workspace.last_run()["options"]
    workspace.update_last_run(options={**options, "scores": stored})
    return lambda: console.show_scores(status.document(Summary(common.opened())))


@command()
def report(
    *, common: Common, name: Annotated[str, Parameter(help="The report's folder.")] = "latest"
) -> Shown:
    """Write the report."""
    workspace = common.opened()
    with temporary_server.beside():
        from flows.runs.stages import report_flow

    location = report_flow(workspace, name)
    return lambda: console.line(f"report: {location}")


def requested_dumps(summary: Summary, names: str | None) -> list[str]:
    """The dumps named, separated by commas, or all of them; InputError if there is no such dump."""
    requested = listed(names) or summary.dumps
    unknown = [name for name in requested if name not in summary.dumps]
    if unknown or not requested:
        raise InputError(
            f"no dump {', '.join(unknown)} in the workspace; it has "
            f"{', '.join(summary.dumps) or 'none'}; index one with `stego corpus`"
        )
    return requested


def _trained_rows(summary: Summary, features_key: str) -> "FeatureRows":
    """These features of the dumps that are trained on."""
    from tasks.features.rows import feature_rows

    return feature_rows(summary.workspace, features_key, summary.last_run["dumps"])


def _settle(summary: Summary, stage: str, key: str, options: Options, **entries: Any) -> None:
    """Make a stage's outcome current; what was made from another one no longer is."""
    keys = summary.keys
    if keys.get(stage) != key:
        later = ORDER[ORDER.index(stage) + 1 :]
        keys = {name: old for name, old in keys.items() if name.split("_")[-1] not in later}
        entries = {"scores": {}, "spread": {}, "drift": {}, **entries}
        if stage == "features":
            entries = {"neighbors": {}, **entries}
    if stage == "features":
        features = summary.workspace.folder(layout.features(key, entries["dumps"][0])).manifest()
        entries["backbone"] = features["backbone"]
    stored = options.model_dump(mode="json", exclude={"weights"})
    summary.workspace.update_last_run(
        keys={**keys, stage: key},
        options={**summary.last_run.get("options", {}), stage: stored},
        **entries,
    )
