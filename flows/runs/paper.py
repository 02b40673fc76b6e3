"""The paper's protocol on the paper's data sets: prepare, train, evaluate, compare."""

from typing import Any

from prefect import flow

from flows.reporting import artifacts
from flows.runs import pipeline, stages
from flows.runs.labelling import Labelling, label_dump
from flows.runs.session import session
from flows.runs.settings import RunOptions
from stego_core.paper import published_protocol
from stego_core.paper.cropping import Resampling
from stego_core.paper.published_protocol import Split
from tasks.options import ComputeOptions
from tasks.paper import comparison, protocol
from tasks.paper import stage as prepare
from tasks.paper.datasets import DataSet
from tasks.paper.stage import Cut
from tasks.workspace.workspace import Workspace


@flow(name="prepare", flow_run_name="prepare {dump}", task_runner=stages.RUNNER)
def prepare_flow(
    workspace: Workspace,
    dump: str,
    name: str,
    data: str,
    split: Split,
    cut: Cut,
    limit: int | None,
    compute_options: ComputeOptions,
) -> None:
    """Cut a split into squares, and index them as a dump."""
    source = DataSet.at(data, published_protocol.named(name))
    stage = prepare.plan(workspace, dump, source, split, cut, limit)
    stages.run_stage(stage, compute_options, prepare.finish)
    squares = prepare.corpus_options(workspace, dump)
    stages.corpus_flow(workspace, dump, squares, compute_options=compute_options)


@flow(name="benchmark", flow_run_name="benchmark {name} {workspace}")
def benchmark(
    workspace: str,
    name: str,
    data: str,
    options: RunOptions | None = None,
    resampling: Resampling = "nearest",
    limit: int | None = None,
) -> dict[str, Any]:
    """Train and evaluate on a published data set as published.

    Args:
        workspace: This folder or URI holds all outcomes; it is made if there is none.
        name: This is one of cocostuff27, cocostuff15, cocostuff3, cityscapes27 and potsdam3.
        data: This folder or URI holds the data set in its own form.
        options: What is set in them wins over what was published.
        resampling: Images are resized like this, nearest as published or bilinear.
        limit: For a trial, only so many images of each split are used.

    Returns:
        the document of figures, with the places of report and figure.

    Raises:
        OptionError: there is no such benchmark.
        InputError: the data set is not there.
    """
    facts = published_protocol.named(name)
    options = options or RunOptions()
    published = options.model_copy(update=protocol.published_options(facts, dict(options)))
    notes = protocol.departures(facts, dict(published), resampling, limit)
    train, val = (comparison.report_name(facts, limit, split) for split in ("train", "val"))
    crops = Cut(published.features.crop_size, published.features.crops == "five", resampling)
    centre = Cut(published.masks.resolution, False, resampling)
    squares = published.features.model_copy(update={"crops": "whole"})  # they are cut already
    run = published.model_copy(update={"features": squares})
    with session(workspace, run.storage, run.compute, create=True) as opened:
        prepare_flow(opened, train, name, data, "train", crops, limit, run.compute)
        prepare_flow(opened, val, name, data, "val", centre, limit, run.compute)
        keys, tables = pipeline.train(opened, [train], run)
        pipeline.make_current(opened, keys, tables, run)
        label_dump(Labelling(opened, val, run.masks, run.scores, run.compute), keys)
        report = stages.report_flow(opened, comparison.report_name(facts, limit))
        outcome = comparison.write(opened, facts, [train, val], notes)
        artifacts.benchmark_table(opened, outcome)
        artifacts.run_pages(opened, report)
    return {**outcome, "report": report}
