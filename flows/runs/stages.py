"""One Prefect flow per stage: plan it, compute its missing partitions, finish it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.reporting import artifacts, logs, run_record
from flows.runs.class_count import with_classes
from flows.runs.session import gpu_turn
from stego_core.errors import InputError
from tasks.clusters import stage as clusters
from tasks.corpus import stage as corpus
from tasks.engine import compute, machine, stop
from tasks.engine.partition import compute_partition, progressing
from tasks.engine.stage import Finish, Stage
from tasks.features import backbones, hub
from tasks.features import stage as features
from tasks.features.rows import FeatureRows, feature_rows
from tasks.head import stage as head
from tasks.masks import stage as masks
from tasks.masks.picie_segmenter import picie_spec
from tasks.masks.segmenter import masks_key, segmenter_spec
from tasks.masks.taught_segmenter import mask_source
from tasks.neighbors import stage as neighbors
from tasks.options import (
    ClustersOptions,
    ComputeOptions,
    CorpusOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    NeighborsOptions,
    ScoresOptions,
)
from tasks.scores import paper_probe, quick_probe
from tasks.scores import stage as scores
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

PARTITIONS_AT_ONCE = 4
"""Partitions under way: enough that no worker idles while another partition ends."""
LOOP = ComputeOptions(executor="loop")


class Baselines(NamedTuple):
    """Keys of the baselines beside STEGO: raw features' clusters, PiCIE; None without."""

    raw: str | None = None
    picie: str | None = None


logs.in_a_worker()
RUNNER: Any = ThreadPoolTaskRunner(max_workers=PARTITIONS_AT_ONCE)


def run_stage(stage: Stage | None, options: ComputeOptions, finish: Finish | None = None) -> None:
    """Compute a stage's missing shards, then finish it; nothing to do for a complete one."""
    if stage is None:
        return
    machine.require_memory(stage.title, stage.memory, options)
    begun = time.perf_counter()
    partitions = stage.partitions()
    with (
        compute.executor(options),
        progressing(stage, partitions) as progress,
        gpu_turn(any(step.gpu for step in stage.work.steps()), options),
        stop.on_request(),
    ):
        futures = [
            compute_partition.submit(stage.title, stage.work, stage.folder, part, options)
            for part in partitions
        ]
        before = progress.done
        artifacts.follow(stage.folder.storage.uri, progress, futures)
    seconds, computed = time.perf_counter() - begun, sum(len(part.shards) for part in partitions)
    (finish or Stage.finish)(stage, seconds, computed)
    run_record.stage_ended(stage.title, seconds, stage.items - before)


@flow(name="corpus", flow_run_name="corpus {dump}", task_runner=RUNNER)
def corpus_flow(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    like: str | None = None,
    compute_options: ComputeOptions = LOOP,
    continuing: bool = False,
) -> None:
    """Index a dump: list its images, check each, freeze the list, quarantine what is broken."""
    stage = corpus.plan(workspace, dump, options, like, compute_options, continuing)
    run_stage(stage, compute_options, partial(corpus.finish, workspace))
    artifacts.corpus_tables(workspace, dump)


@flow(name="features", flow_run_name="features {dump}", task_runner=RUNNER)
def features_flow(
    workspace: Workspace,
    dump: str,
    options: FeaturesOptions,
    compute_options: ComputeOptions,
    backbone: dict[str, Any] | None = None,
) -> str:
    """Patch features of a dump's sampled images; returns the key of the features.

    `backbone` names one that the workspace holds already; without it, `options` say which.
    """
    device = machine.worker_device(compute_options)
    if backbone:
        spec = backbones.BackboneSpec(**backbone)
    else:
        weights = options.weights or hub.TIMM
        fetched = backbones.fetch_backbone(
            workspace, options.backbone, weights, options.layer, positions=options.positions
        )
        spec = replace(fetched, precision=compute.precision(options.precision, compute_options))
    run_stage(features.plan(workspace, dump, options, spec, device), compute_options)
    return features.features_key(options, spec)


@flow(name="neighbors", flow_run_name="neighbors {dump}", task_runner=RUNNER)
def neighbors_flow(
    rows: FeatureRows, dump: str, options: NeighborsOptions, compute_options: ComputeOptions
) -> str:
    """Nearest crops, among `rows`, of each crop of `dump`; returns the table's key."""
    device = machine.worker_device(compute_options)
    for stage, finish in neighbors.stages(rows, dump, options, device):
        run_stage(stage, compute_options, finish)
    return neighbors.neighbors_key(rows, options)


@flow(name="head", flow_run_name="head seed {options.seed}", task_runner=RUNNER)
def head_flow(
    rows: FeatureRows,
    neighbors_key: str,
    options: HeadOptions,
    compute_options: ComputeOptions,
    kept: Sequence[int] = (),
    longer: Sequence[str] = (),
) -> str:
    """Train the head on features and their neighbours; returns its key.

    `kept` and `longer` as in `head.plan`.
    """
    machine.worker_device(compute_options)
    stage = head.plan(rows, neighbors_key, options, compute_options, kept, longer)
    run_stage(stage, compute_options, Stage.finish_single)
    return head.head_key(rows, neighbors_key, options)


@flow(name="clusters", flow_run_name="clusters {head_key}", task_runner=RUNNER)
def clusters_flow(
    rows: FeatureRows, head_key: str, options: ClustersOptions, compute_options: ComputeOptions
) -> str:
    """Cluster the codes of features; the head key `identity` clusters the features themselves."""
    options = with_classes(rows.workspace, rows.dumps, options)
    device = machine.worker_device(compute_options)
    key = clusters.clusters_key(rows, head_key, options)
    for stage, finish in clusters.stages(rows, head_key, options, device):
        run_stage(stage, compute_options, finish)
    return key


@flow(name="masks", flow_run_name="masks {dump}", task_runner=RUNNER)
def masks_flow(
    workspace: Workspace,
    dump: str,
    clusters_key: str,
    options: MasksOptions,
    compute_options: ComputeOptions,
) -> str:
    """Label every pixel of every readable image of a dump; returns the masks' key."""
    device = machine.worker_device(compute_options)
    stage = masks.plan(workspace, dump, clusters_key, options, device)
    run_stage(stage, compute_options, partial(masks.finish, workspace))
    return masks_key(clusters_key, options)


@flow(name="scores", flow_run_name="scores {dump}", task_runner=RUNNER)
def scores_flow(
    workspace: Workspace,
    dump: str,
    clusters_key: str,
    baselines: Baselines,
    mask_options: MasksOptions,
    options: ScoresOptions,
    compute_options: ComputeOptions,
) -> str:
    """Score the masks of a labelled dump beside those of baselines; returns the scores' key."""
    device = machine.worker_device(compute_options)
    raw, picie = baselines
    sources = scores.Sources(
        mask_source(workspace, clusters_key, mask_options),
        segmenter_spec(workspace, raw, mask_options) if raw else None,
        probe_path(workspace, dump, clusters_key, options, device, compute_options),
        options.probe_protocol == "stego",
        options.probe_masks,
        picie_spec(workspace, picie, mask_options) if picie else None,
    )
    return score(workspace, dump, sources, compute_options)


def score(
    workspace: Workspace, dump: str, sources: scores.Sources, compute_options: ComputeOptions
) -> str:
    """Compute the scores of a labelled dump; returns their key."""
    stage = scores.plan(workspace, dump, sources, machine.worker_device(compute_options))
    run_stage(stage, compute_options, partial(scores.finish, workspace))
    key = scores.scores_key(workspace, dump, sources)
    artifacts.scores_table(workspace, dump, key)
    return key


def probe_path(
    workspace: Workspace,
    dump: str,
    clusters_key: str,
    options: ScoresOptions,
    device: str,
    compute_options: ComputeOptions,
) -> str | None:
    """The fitted linear probe; None where it is not asked for or cannot be had."""
    if not options.linear_probe:
        return None
    manifest = workspace.folder(layout.clusters(clusters_key)).manifest()
    if "imported" in manifest:
        return quick_probe.imported_probe(workspace, dump, clusters_key)
    rows, head_key = trained_rows(workspace, manifest), manifest["inputs"]["head"]
    if not quick_probe.can_fit(rows, dump):
        return None
    seed = manifest["options"]["seed"]
    if options.probe_protocol == "stego":
        folder = paper_probe.probe_folder(rows, head_key, seed)
        run_stage(paper_probe.plan(rows, head_key, seed, compute_options), compute_options)
    else:
        folder = quick_probe.probe_folder(rows, head_key, seed)
        run_stage(quick_probe.plan(rows, head_key, seed, device), compute_options)
    return f"{folder.path}/{layout.PROBE_FILE}"


def trained_rows(workspace: Workspace, clusters_manifest: Mapping[str, Any]) -> FeatureRows:
    """The features that clusters, and the head before them, were trained on."""
    inputs = clusters_manifest["inputs"]
    return feature_rows(workspace, inputs["features"], [name for name, _ in inputs["dumps"]])


@flow(name="drift", flow_run_name="drift {dump}")
def drift_flow(workspace: Workspace, dump: str, keys: dict[str, str]) -> dict[str, Any]:
    """How far a dump lies from the images that the head was trained on; past the threshold it
    emits the event `stego.drift`, once for a dump and a head. Returns what `stego status` shows.
    """
    from tasks.drift import stage as drift  # a run's first work should not wait for SciPy

    inputs = workspace.folder(layout.clusters(keys["clusters"])).manifest()["inputs"]
    trained = [name for name, _ in inputs["dumps"]]
    figures = drift.measure(workspace, dump, keys["features"], trained, keys["masks"])
    names = ("features", "shares", "thresholds", "judged", "drifted")
    measured = {name: figures[name] for name in names}
    stored = workspace.last_run().get("drift", {})
    if stored.get(dump) != measured:
        if measured["drifted"]:
            artifacts.emit_drift(workspace, dump, measured)
        workspace.update_last_run(drift={**stored, dump: measured})
    return measured


@flow(name="report", flow_run_name="report {name}")
def report_flow(workspace: Workspace, name: str = "latest") -> str:
    """Write the page that shows what the workspace holds; returns where it is."""
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"report name {name!r} is not a folder's name; use letters and digits")
    from tasks.report import stage as report  # nor for Matplotlib

    location = report.write(workspace, name)
    artifacts.report_page(workspace, location)
    return location
