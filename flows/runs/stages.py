"""One Prefect flow per stage: plan it, compute its missing partitions, finish it."""

import time
from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.reporting import artifacts, logs, run_record
from flows.runs.class_count import with_classes
from flows.runs.session import gpu_turn
from stego_core.errors import InputError
from tasks.clusters import stage as clusters
from tasks.corpus import stage as corpus
from tasks.drift import stage as drift
from tasks.engine import compute, machine, stop
from tasks.engine.partition import compute_partition, progressing
from tasks.engine.stage import Finish, Stage
from tasks.features import backbones
from tasks.features import stage as features
from tasks.features.rows import FeatureRows, feature_rows
from tasks.head import stage as head
from tasks.masks import stage as masks
from tasks.masks.segmenter import masks_key, segmenter_spec
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
from tasks.report import stage as report
from tasks.scores import paper_probe, quick_probe
from tasks.scores import stage as scores
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

PARTITIONS_AT_ONCE = 4
"""Partitions under way: enough that no worker idles while another partition ends."""
LOOP = ComputeOptions(executor="loop")
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
        progressing(stage) as progress,
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
    workspace: str,
    dump: str,
    options: CorpusOptions,
    like: str | None = None,
    compute_options: ComputeOptions = LOOP,
    continuing: bool = False,
) -> None:
    """Index a dump: list its images, check each, freeze the list, quarantine what is broken.

    Labels without a taxonomy mean what those of the dump `like` mean; numbers of a dump that is
    `continuing` the workspace's others mean what they mean there.
    """
    place = Workspace.create(workspace)

    def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
        return corpus.finish(place, stage, seconds, computed)

    stage = corpus.plan(place, dump, options, like, compute_options, continuing)
    run_stage(stage, compute_options, finish)
    artifacts.corpus_tables(place, dump)


@flow(name="features", flow_run_name="features {dump}", task_runner=RUNNER)
def features_flow(
    workspace: str,
    dump: str,
    options: FeaturesOptions,
    compute_options: ComputeOptions,
    backbone: dict[str, Any] | None = None,
) -> str:
    """Patch features of a dump's drawn images; returns the key of the features.

    `backbone` names one that the workspace holds already; without it, `options` say which.
    """
    place = Workspace.open(workspace)
    device = machine.worker_device(compute_options)
    if backbone:
        spec = backbones.BackboneSpec(**backbone)
    else:
        weights = options.weights or backbones.TIMM
        brought = backbones.fetch_backbone(place, options.backbone, weights, options.layer)
        spec = replace(brought, precision=compute.precision(options.precision, compute_options))
    run_stage(features.plan(place, dump, options, spec, device), compute_options)
    return features.features_key(options, spec)


@flow(name="neighbors", flow_run_name="neighbors {dump}", task_runner=RUNNER)
def neighbors_flow(
    workspace: str,
    dump: str,
    features_key: str,
    dumps: list[str],
    options: NeighborsOptions,
    compute_options: ComputeOptions,
) -> str:
    """Nearest rows, among those of `dumps`, of each row of `dump`; returns the table's key."""
    rows = feature_rows(Workspace.open(workspace), features_key, dumps)
    device = machine.worker_device(compute_options)
    for stage, finish in neighbors.stages(rows, dump, options, device):
        run_stage(stage, compute_options, finish)
    return neighbors.neighbors_key(rows, options)


@flow(name="head", flow_run_name="head seed {options.seed}", task_runner=RUNNER)
def head_flow(
    workspace: str,
    features_key: str,
    neighbors_key: str,
    dumps: list[str],
    options: HeadOptions,
    compute_options: ComputeOptions,
) -> str:
    """Train the head on the features and neighbours of `dumps`; returns its key."""
    rows = feature_rows(Workspace.open(workspace), features_key, dumps)
    machine.worker_device(compute_options)
    stage = head.plan(rows, neighbors_key, options, compute_options)
    run_stage(stage, compute_options, Stage.finish_single)
    return head.head_key(rows, neighbors_key, options)


@flow(name="clusters", flow_run_name="clusters {head_key}", task_runner=RUNNER)
def clusters_flow(
    workspace: str,
    features_key: str,
    head_key: str,
    dumps: list[str],
    options: ClustersOptions,
    compute_options: ComputeOptions,
) -> str:
    """Cluster the codes of `dumps`; the head key `identity` clusters the raw features."""
    place = Workspace.open(workspace)
    rows = feature_rows(place, features_key, dumps)
    settled = with_classes(place, dumps, options)
    device = machine.worker_device(compute_options)
    key = clusters.clusters_key(rows, head_key, settled)
    for stage, finish in clusters.stages(rows, head_key, settled, device):
        run_stage(stage, compute_options, finish)
    return key


@flow(name="masks", flow_run_name="masks {dump}", task_runner=RUNNER)
def masks_flow(
    workspace: str,
    dump: str,
    clusters_key: str,
    options: MasksOptions,
    compute_options: ComputeOptions,
) -> str:
    """Label every pixel of every readable image of a dump; returns the masks' key."""
    place = Workspace.open(workspace)
    device = machine.worker_device(compute_options)
    run_stage(masks.plan(place, dump, clusters_key, options, device), compute_options, masks.finish)
    return masks_key(clusters_key, options)


@flow(name="scores", flow_run_name="scores {dump}", task_runner=RUNNER)
def scores_flow(
    workspace: str,
    dump: str,
    clusters_key: str,
    baseline_key: str | None,
    mask_options: MasksOptions,
    options: ScoresOptions,
    compute_options: ComputeOptions,
) -> str:
    """Score the masks of a labelled dump; returns the scores' key."""
    place = Workspace.open(workspace)
    device = machine.worker_device(compute_options)
    sources = scores.Sources(
        segmenter_spec(place, clusters_key, mask_options),
        segmenter_spec(place, baseline_key, mask_options) if baseline_key else None,
        probe_path(place, dump, clusters_key, options, device, compute_options),
        options.probe_protocol == "stego",
    )

    def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
        return scores.finish(place, stage, seconds, computed)

    run_stage(scores.plan(place, dump, sources, device), compute_options, finish)
    key = scores.scores_key(place, dump, sources)
    artifacts.scores_table(place, dump, key)
    return key


def probe_path(
    workspace: Workspace,
    dump: str,
    clusters_key: str,
    options: ScoresOptions,
    device: str,
    compute_options: ComputeOptions,
) -> str | None:
    """The fitted linear probe; None where it is not wanted or cannot be had."""
    if not options.linear_probe:
        return None
    manifest = workspace.folder(layout.clusters(clusters_key)).manifest()
    if "imported" in manifest:
        return quick_probe.imported_probe(workspace, dump, clusters_key)
    inputs, seed = manifest["inputs"], manifest["options"]["seed"]
    dumps = [name for name, _ in inputs["dumps"]]
    rows: FeatureRows = feature_rows(workspace, inputs["features"], dumps)
    if not quick_probe.can_fit(rows, dump):
        return None
    if options.probe_protocol == "stego":
        folder = paper_probe.probe_folder(rows, inputs["head"], seed)
        run_stage(paper_probe.plan(rows, inputs["head"], seed, compute_options), compute_options)
    else:
        folder = quick_probe.probe_folder(rows, inputs["head"], seed)
        run_stage(quick_probe.plan(rows, inputs["head"], seed, device), compute_options)
    return f"{folder.path}/{layout.PROBE_FILE}"


@flow(name="drift", flow_run_name="drift {dump}")
def drift_flow(workspace: str, dump: str, keys: dict[str, str]) -> dict[str, Any]:
    """How far a dump lies from the images that the head was trained on; past the threshold it
    emits the event `stego.drift`, once for a dump and a head. Returns what `stego status` shows.
    """
    place = Workspace.open(workspace)
    inputs = place.folder(layout.clusters(keys["clusters"])).manifest()["inputs"]
    dumps = [name for name, _ in inputs["dumps"]]
    found = drift.measure(place, dump, keys["features"], dumps, keys["masks"])
    told = place.last_run().get("drift", {})
    shown = {name: found[name] for name in ("features", "shares", "thresholds", "drifted")}
    if told.get(dump) != shown:
        if found["drifted"]:
            artifacts.emit_drift(place, dump, shown)
        place.update_last_run(drift={**told, dump: shown})
    return shown


@flow(name="report", flow_run_name="report {name}")
def report_flow(workspace: str, name: str = "latest") -> str:
    """Write the page that shows what the workspace holds; returns where it is."""
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"report name {name!r} is not a folder's name; use letters and digits")
    place = Workspace.open(workspace)
    location = report.write(place, name)
    artifacts.report_page(place, location)
    return location
