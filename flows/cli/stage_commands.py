"""The commands of one stage each: it takes up what the stage before it left current."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.flags import Common, Dump, Dumps, Shown, Working, command, listed
from flows.runs.settings import Clusters, Corpus, Features, Head, Masks, Neighbors, Scores
from stego_core.errors import InputError, WorkspaceError
from tasks.options import (
    ClustersOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    NeighborsOptions,
    Options,
    ScoresOptions,
)
from tasks.workspace import layout

if TYPE_CHECKING:
    from tasks.workspace.summary import Summary
    from tasks.workspace.workspace import Workspace

stage = command(continues=True, writes=True)
"""One stage, whose options go on from those of the workspace's last run."""
ORDER = ("features", "neighbors", "head", "clusters", "masks")
"""What a changed stage leaves behind: everything after it, and the scores, is made anew."""


@command(makes=True, writes=True)
def corpus(*, common: Working, dump: Dump = None, corpus: Corpus) -> Shown:
    """Index a dump of images and videos."""
    from flows.reporting import console
    from flows.runs.index_dump import index_dump
    from tasks.corpus.listing import default_dump
    from tasks.report import status
    from tasks.workspace.workspace import Workspace

    name = dump or default_dump(corpus.images)
    index_dump(Workspace.create(common.workspace), name, corpus, common.compute, continuing=True)
    summary = _summary(common.workspace)
    return lambda: console.show_values(status.document(summary), [name])


@stage
def features(
    *, common: Working, dumps: Dumps = None, features: Features = FeaturesOptions()
) -> Shown:
    """Extract features of dumps, which become those that later stages train on."""
    from flows.runs import stages

    place = _summary(common.workspace).workspace
    names, held = chosen_dumps(place, dumps), _held_backbone(place, features)
    key = ""
    for dump in names:
        key = stages.features_flow(common.workspace, dump, features, common.compute, held)
    _settle(place, "features", key, features, dumps=names)
    return None


def _held_backbone(place: "Workspace", options: FeaturesOptions) -> dict[str, Any] | None:
    """The current backbone where the options name no other weights."""
    current = place.last_run_or_none() or {}
    if options.weights is not None or "backbone" not in current:
        return None
    held: dict[str, Any] = current["backbone"]
    same = held["name"] == options.backbone and options.layer in (None, held["layer"])
    return held if same else None


@stage
def neighbors(
    *, common: Working, dumps: Dumps = None, neighbors: Neighbors = NeighborsOptions()
) -> Shown:
    """Find neighbours of dumps, among all the dumps that are trained on."""
    from flows.runs import stages

    summary = _summary(common.workspace)
    features_key = summary.require("features")
    trained = list(summary.last_run["dumps"])
    tables = {}
    for dump in chosen_dumps(summary.workspace, dumps) if dumps else trained:
        searched = [*trained, *([dump] if dump not in trained else [])]
        tables[dump] = stages.neighbors_flow(
            common.workspace, dump, features_key, searched, neighbors, common.compute
        )
    merged = {**summary.last_run.get("neighbors", {}), **tables}
    key = tables.get(trained[0], summary.keys.get("neighbors"))
    if key is None:
        summary.workspace.update_last_run(neighbors=merged)
    else:
        _settle(summary.workspace, "neighbors", key, neighbors, neighbors=merged)
    return None


@stage
def head(*, common: Working, head: Head = HeadOptions()) -> Shown:
    """Train the head on the current features and neighbours."""
    from flows.runs import stages

    summary = _summary(common.workspace)
    inputs = summary.require("features"), summary.require("neighbors")
    trained = list(summary.last_run["dumps"])
    key = stages.head_flow(common.workspace, *inputs, trained, head, common.compute)
    _settle(summary.workspace, "head", key, head)
    return None


@stage
def clusters(*, common: Working, clusters: Clusters = ClustersOptions()) -> Shown:
    """Cluster the current head's codes."""
    from flows.runs import stages

    summary = _summary(common.workspace)
    inputs = summary.require("features"), summary.require("head")
    trained = list(summary.last_run["dumps"])
    key = stages.clusters_flow(common.workspace, *inputs, trained, clusters, common.compute)
    _settle(summary.workspace, "clusters", key, clusters)
    return None


@stage
def masks(*, common: Working, dumps: Dumps = None, masks: Masks = MasksOptions()) -> Shown:
    """Label dumps with the current clusters."""
    from flows.runs import stages

    summary = _summary(common.workspace)
    clusters_key = summary.require("clusters")
    key = ""
    for dump in chosen_dumps(summary.workspace, dumps):
        key = stages.masks_flow(common.workspace, dump, clusters_key, masks, common.compute)
    _settle(summary.workspace, "masks", key, masks)
    return None


@stage
def scores(
    *,
    common: Working,
    dumps: Dumps = None,
    masks: Masks = MasksOptions(),
    scores: Scores = ScoresOptions(),
) -> Shown:
    """Score masks against labels, of those dumps that have both."""
    from flows.reporting import console
    from flows.runs.labelling import Labelling, score_dump
    from tasks.report import status

    workspace = common.workspace
    summary = _summary(workspace)
    place, keys = summary.workspace, {n: summary.require(n) for n in ("clusters", "masks")}
    ready = [dump for dump in chosen_dumps(place, dumps) if summary.manifest("masks", dump)]
    if not ready:
        raise WorkspaceError("no masks to score are there; run `stego masks` first")
    for dump in ready:
        score_dump(Labelling(place, dump, masks, scores, common.compute), keys)
    kept = scores.model_dump(mode="json", exclude={"seeds"})
    place.update_last_run(options={**place.last_run()["options"], "scores": kept})
    return lambda: console.show_scores(status.document(_summary(workspace)))


@command()
def report(
    *, common: Common, name: Annotated[str, Parameter(help="The report's folder.")] = "latest"
) -> Shown:
    """Write the report."""
    from flows.reporting import console
    from flows.runs.stages import report_flow

    place = report_flow(common.workspace, name)
    return lambda: console.show_place("report", place)


def chosen_dumps(workspace: "Workspace", names: str | None) -> list[str]:
    """The dumps named, separated by commas, or all of them.

    Raises:
        InputError: there is no such dump.
    """
    there = workspace.dumps()
    wanted = listed(names) or there
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise InputError(
            f"no dump {', '.join(unknown)} in the workspace; it has {', '.join(there) or 'none'}; "
            "index one with `stego corpus`"
        )
    return wanted


def _summary(workspace: str) -> "Summary":
    """What is current in a workspace; the libraries that read one take a second."""
    from tasks.workspace.summary import Summary
    from tasks.workspace.workspace import Workspace

    return Summary(Workspace.open(workspace))


def _settle(place: "Workspace", stage: str, key: str, options: Options, **entries: Any) -> None:
    """Make a stage's outcome current; what was made from another one no longer is."""
    current = place.last_run_or_none() or {}
    keys = dict(current.get("keys", {}))
    if keys.get(stage) != key:
        later = ORDER[ORDER.index(stage) + 1 :]
        keys = {name: held for name, held in keys.items() if name.split("_")[-1] not in later}
        entries = {"scores": {}, "spread": {}, "drift": {}, **entries}
        if stage == "features":
            entries = {"neighbors": {}, **entries}
    stored = options.model_dump(mode="json", exclude={"weights"})
    if stage == "features":
        features = place.folder(layout.features(key, entries["dumps"][0])).manifest()
        entries["backbone"] = features["backbone"]
    place.update_last_run(
        keys={**keys, stage: key},
        options={**current.get("options", {}), stage: stored},
        **entries,
    )
