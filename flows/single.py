"""Stages one at a time: each takes up what the stage before it left current."""

from typing import Any

from flows import stages
from flows.labelling import Labelling, score_dump
from stego_core.errors import InputError, WorkspaceError
from tasks.options import (
    ClustersOptions,
    ComputeOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    NeighborsOptions,
    Options,
    ScoresOptions,
)
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace

ORDER = ("features", "neighbors", "head", "clusters", "masks")
"""What a changed stage leaves behind: everything after it, and the scores, is made anew."""


def chosen_dumps(workspace: Workspace, names: str | None) -> list[str]:
    """The dumps named, separated by commas, or all of them.

    Raises:
        InputError: there is no such dump.
    """
    there = workspace.dumps()
    wanted = [name.strip() for name in names.split(",")] if names else there
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise InputError(
            f"no dump {', '.join(unknown)} in the workspace; it has {', '.join(there) or 'none'}; "
            "index one with `stego corpus`"
        )
    return wanted


def features(
    location: str, names: str | None, options: FeaturesOptions, run: ComputeOptions
) -> None:
    """Features of dumps, which become the dumps that later stages train on."""
    place = Workspace.open(location)
    dumps = chosen_dumps(place, names)
    key = ""
    for dump in dumps:
        key = stages.features_flow(location, dump, options, run, _held_backbone(place, options))
    _settle(place, "features", key, options, dumps=dumps)


def _held_backbone(place: Workspace, options: FeaturesOptions) -> dict[str, Any] | None:
    """The current backbone where the options name no other weights."""
    current = place.current_or_none() or {}
    if options.weights is not None or "backbone" not in current:
        return None
    held: dict[str, Any] = current["backbone"]
    same = held["name"] == options.backbone and options.layer in (None, held["layer"])
    return held if same else None


def neighbors(
    location: str, names: str | None, options: NeighborsOptions, run: ComputeOptions
) -> None:
    """Neighbours of dumps, among all the dumps that are trained on."""
    place = Workspace.open(location)
    summary = Summary(place)
    features_key = summary.require("features")
    trained = list(summary.current["dumps"])
    tables = {}
    for dump in chosen_dumps(place, names) if names else trained:
        searched = [*trained, *([dump] if dump not in trained else [])]
        tables[dump] = stages.neighbors_flow(location, dump, features_key, searched, options, run)
    merged = {**summary.current.get("neighbors", {}), **tables}
    key = tables.get(trained[0], summary.keys.get("neighbors"))
    if key is None:
        place.settle(neighbors=merged)
    else:
        _settle(place, "neighbors", key, options, neighbors=merged)


def head(location: str, options: HeadOptions, run: ComputeOptions) -> None:
    """Train the head on the current features and neighbours."""
    place = Workspace.open(location)
    summary = Summary(place)
    key = stages.head_flow(
        location,
        summary.require("features"),
        summary.require("neighbors"),
        list(summary.current["dumps"]),
        options,
        run,
    )
    _settle(place, "head", key, options)


def clusters(location: str, options: ClustersOptions, run: ComputeOptions) -> None:
    """Cluster the current head's codes."""
    place = Workspace.open(location)
    summary = Summary(place)
    key = stages.clusters_flow(
        location,
        summary.require("features"),
        summary.require("head"),
        list(summary.current["dumps"]),
        options,
        run,
    )
    _settle(place, "clusters", key, options)


def masks(location: str, names: str | None, options: MasksOptions, run: ComputeOptions) -> None:
    """Masks of dumps with the current clusters."""
    place = Workspace.open(location)
    clusters_key = Summary(place).require("clusters")
    key = ""
    for dump in chosen_dumps(place, names):
        key = stages.masks_flow(location, dump, clusters_key, options, run)
    _settle(place, "masks", key, options)


def scores(
    location: str,
    names: str | None,
    mask_options: MasksOptions,
    options: ScoresOptions,
    run: ComputeOptions,
) -> None:
    """Scores of the labelled dumps whose masks are there."""
    place = Workspace.open(location)
    keys = {
        "clusters": Summary(place).require("clusters"),
        "masks": Summary(place).require("masks"),
    }
    ready = [d for d in chosen_dumps(place, names) if Summary(place).manifest("masks", d)]
    if not ready:
        raise WorkspaceError("no masks to score are there; run `stego masks` first")
    for dump in ready:
        score_dump(Labelling(place, dump, mask_options, options, run), keys)
    kept = options.model_dump(mode="json", exclude={"seeds"})
    place.settle(options={**place.current()["options"], "scores": kept})


def _settle(place: Workspace, stage: str, key: str, options: Options, **entries: Any) -> None:
    """Make a stage's outcome current; what was made from another one no longer is."""
    current = place.current_or_none() or {}
    keys = dict(current.get("keys", {}))
    if keys.get(stage) != key:
        later = ORDER[ORDER.index(stage) + 1 :]
        keys = {name: held for name, held in keys.items() if name.split("_")[-1] not in later}
        entries = {"scores": {}, "spread": {}, "drift": {}, **entries}
        if stage == "features":
            entries = {"neighbors": {}, **entries}
    stored = options.model_dump(mode="json", exclude={"weights"})
    if stage == "features":
        features = place.folder("features", key, f"{entries['dumps'][0]}.zarr").manifest()
        entries["backbone"] = features["backbone"]
    place.settle(
        keys={**keys, stage: key},
        options={**current.get("options", {}), stage: stored},
        **entries,
    )
