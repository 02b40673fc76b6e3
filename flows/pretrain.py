"""A backbone of one's own: index the images, then distil."""

from typing import Any

from prefect import flow

from flows import artifacts, stages
from flows.frames import index_dump
from flows.outage import told_apart
from flows.session import session
from tasks import machine, model, pretrain
from tasks.listing import default_dump
from tasks.options import ComputeOptions, CorpusOptions, PretrainOptions, StorageOptions
from tasks.workspace.workspace import Workspace


@flow(
    name="pretrain",
    flow_run_name="pretrain {options.backbone} on {dump}",
    task_runner=stages.RUNNER,
)
def pretrain_flow(
    workspace: str, dump: str, options: PretrainOptions, compute_options: ComputeOptions
) -> dict[str, Any]:
    """Train a backbone on a dump's images; returns its key, place and figures."""
    place = Workspace.open(workspace)
    machine.worker_device(compute_options)
    spec = model.bring(
        place, options.backbone, options.weights or model.UNTRAINED, None, options.seed
    )
    stage = pretrain.plan(place, dump, spec, options, compute_options)
    stages.run_stage(stage, compute_options, pretrain.finish)
    outcome = pretrain.outcome(place, dump, spec, options)
    artifacts.pretrained_table(place, outcome)
    return outcome


@flow(name="pretraining", flow_run_name="pretraining {workspace}")
@told_apart
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
    with session(workspace, storage, run):
        index_dump(Workspace.create(workspace), name, corpus, run)
        return pretrain_flow(workspace, name, options or PretrainOptions(), run)
