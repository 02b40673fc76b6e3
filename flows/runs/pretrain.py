"""A backbone of one's own: index the images, then distil."""

from typing import Any

from prefect import flow

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import stages
from flows.runs.index_dump import index_dump
from flows.runs.session import session
from tasks.corpus.listing import default_dump
from tasks.engine import machine
from tasks.engine.stage import Stage
from tasks.features import backbones
from tasks.options import ComputeOptions, CorpusOptions, PretrainOptions, StorageOptions
from tasks.pretrain import stage as pretrain
from tasks.workspace.workspace import Workspace


@flow(
    name="pretrain",
    flow_run_name="pretrain {options.backbone} on {dump}",
    task_runner=stages.RUNNER,
)
def pretrain_flow(
    workspace: Workspace, dump: str, options: PretrainOptions, compute_options: ComputeOptions
) -> dict[str, Any]:
    """Train a backbone on a dump's images; returns its key, place and figures."""
    machine.worker_device(compute_options)
    weights = options.weights or backbones.UNTRAINED
    spec = backbones.fetch_backbone(workspace, options.backbone, weights, None, options.seed)
    stage = pretrain.plan(workspace, dump, spec, options, compute_options)
    stages.run_stage(stage, compute_options, Stage.finish_single)
    outcome = pretrain.outcome(workspace, dump, spec, options)
    artifacts.pretrained_table(workspace, outcome)
    return outcome


@flow(name="pretraining", flow_run_name="pretraining {workspace}")
@distinguish_outages
def pretraining(
    workspace: str,
    corpus: CorpusOptions,
    options: PretrainOptions | None = None,
    dump: str | None = None,
    compute_options: ComputeOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Train a backbone on a folder of images, without a label.

    Args:
        workspace: This folder or URI holds all outcomes; it is made if there is none.
        corpus: These are the images; their labels are not looked at.
        options: These say how the backbone is trained.
        dump: This names the images in the workspace. By default it is the last part of their path.
        compute_options: These say where the training runs.
        storage_options: These say how object storage is reached.

    Returns:
        the backbone's name, where its weights are, and how training ended.
    """
    name = dump or default_dump(corpus.images)
    storage, run = storage_options or StorageOptions(), compute_options or ComputeOptions()
    with session(workspace, storage, run, create=True) as opened:
        index_dump(opened, name, corpus, run)
        return pretrain_flow(opened, name, options or PretrainOptions(), run)
