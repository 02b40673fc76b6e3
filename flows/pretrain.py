"""A backbone of one's own: index the images, then distil."""

from typing import Any

from prefect import flow

from flows import stages
from flows.session import session
from tasks.listing import default_dump
from tasks.options import ComputeOptions, CorpusOptions, PretrainOptions, StorageOptions


@flow(name="pretraining", flow_run_name="pretraining {workspace}")
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
        workspace: path or URI.
        corpus: which images; labels are not looked at.
        options: how the backbone is trained.
        dump: the images' name in the workspace; default: the last part of their path.
        compute_options: where the training runs.
        storage_options: how object storage is reached.

    Returns:
        the backbone's name, where its weights are, and how training ended.
    """
    name = dump or default_dump(corpus.images)
    storage, run = storage_options or StorageOptions(), compute_options or ComputeOptions()
    with session(workspace, storage, run):
        stages.corpus_flow(workspace, name, corpus)
        return stages.pretrain_flow(workspace, name, options or PretrainOptions(), run)
