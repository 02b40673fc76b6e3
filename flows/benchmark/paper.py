"""The paper's protocol on the paper's data sets: prepare, train, evaluate, compare."""

from typing import Any

from prefect import flow

from flows.benchmark import picie_paper
from flows.reporting import artifacts
from flows.runs import picie, pipeline, stages
from flows.runs.import_checkpoint import make_imported_current
from flows.runs.labelling import Labelling, checkpoint_steps, label_dump, score_checkpoints
from flows.runs.session import session
from flows.runs.settings import RunOptions
from stego_core.errors import OptionError
from stego_core.paper import published_protocol
from stego_core.paper.cropping import Resampling
from stego_core.paper.published_protocol import Benchmark, Split
from tasks.features import enough_images
from tasks.options import ComputeOptions
from tasks.paper import comparison, picie_protocol, protocol
from tasks.paper import stage as prepare
from tasks.paper.comparison import Method
from tasks.paper.datasets import DataSet
from tasks.paper.stage import Cut
from tasks.released import importing
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
    checkpoint: str | None = None,
    checkpoints: int | None = None,
    figures: bool = False,
    method: Method = "stego",
) -> dict[str, Any]:
    """Train and evaluate on a published data set as published.

    Args:
        workspace: This folder or URI holds all outcomes; it is made if there is none.
        name: This is one of cocostuff27, cocostuff15, cocostuff3, cityscapes27 and potsdam3.
        data: This folder or URI holds the data set in its own form.
        options: What is set in them wins over what was published.
        resampling: Images are resized like this, nearest as published or bilinear.
        limit: For a trial, only so many images of each split are used.
        checkpoint: This file or URI of a released model is evaluated, and nothing is trained.
        checkpoints: This many heads on the way of the training are scored, too, and the best of
            them is named; the labels of the validation split choose it.
        figures: The figures of the paper are written beside the report.
        method: This is trained: stego, or its baseline picie.

    Returns:
        the document of figures, with the places of report and figure.

    Raises:
        OptionError: there is no such benchmark.
        InputError: the data set is not there.
        CapacityError: there are too few images for the options.
        WeightsError: the checkpoint cannot be imported, or has other classes.
    """
    facts = published_protocol.named(name)
    options = options or RunOptions()
    published = options.model_copy(update=protocol.published_options(facts, dict(options)))
    require_together(method, checkpoint, checkpoints)
    if checkpoint is not None:
        return evaluate(workspace, facts, data, published, resampling, limit, checkpoint, figures)
    split = "train" if method == "stego" else "picie-train"
    train, val = (comparison.report_name(facts, limit, name) for name in (split, "val"))
    centre = Cut(published.masks.resolution, False, resampling)
    squares = published.features.model_copy(update={"crops": "whole"})  # they are cut already
    run = published.model_copy(update={"features": squares})
    if method == "stego":
        listed = len(DataSet.at(data, facts).pairs("train")[:limit])
        rows = listed * enough_images.CROPS[published.features.crops]
        enough_images.require_enough(rows, squares, run.neighbors, run.clusters)
    with session(workspace, run.storage, run.compute, create=True) as opened:
        crops = training_cut(method, published, resampling)
        prepare_flow(opened, train, name, data, "train", crops, limit, run.compute)
        prepare_flow(opened, val, name, data, "val", centre, limit, run.compute)
        on_the_way: list[dict[str, float | None]] = []
        if method == "stego":
            notes = protocol.departures(facts, dict(published), resampling, limit)
            kept = checkpoint_steps(run.head.steps, checkpoints or 0)
            keys, tables = pipeline.train(opened, [train], run, kept=kept)
            pipeline.make_current(opened, keys, tables, run)
            baseline = picie.requested(opened, run)
            labelling = Labelling(opened, val, run.masks, run.scores, run.compute, baseline)
            label_dump(labelling, keys)
            on_the_way = score_checkpoints(labelling, keys["clusters"], checkpoints or 0)
        else:
            notes = picie_protocol.departures(run.picie, resampling, limit)
            picie_paper.evaluate(opened, train, val, len(facts.classes), run)
        report = stages.report_flow(opened, comparison.report_name(facts, limit))
        outcome = comparison.write(opened, facts, [train, val], notes, on_the_way, method)
        outcome["figures"] = comparison.write_figures(opened, facts, val) if figures else {}
        artifacts.benchmark_table(opened, outcome)
        artifacts.run_pages(opened, report)
    return {**outcome, "report": report}


def require_together(method: Method, checkpoint: str | None, checkpoints: int | None) -> None:
    """Check that options which exclude each other are not given together.

    Raises:
        OptionError: they are.
    """
    if checkpoint is not None and checkpoints is not None:
        raise OptionError(
            "--checkpoint evaluates a finished model, and --checkpoints scores a training on its "
            "way; give one of them"
        )
    given = "--checkpoint" if checkpoint is not None else "--checkpoints"
    if method == "picie" and (checkpoint is not None or checkpoints is not None):
        raise OptionError(f"{given} is STEGO's; leave it out with --method picie")


def evaluate(
    workspace: str,
    facts: Benchmark,
    data: str,
    options: RunOptions,
    resampling: Resampling,
    limit: int | None,
    file: str,
    figures: bool,
) -> dict[str, Any]:
    """Evaluate a released model: both probes, both with the CRF, on the validation split."""
    notes = protocol.departures(facts, dict(options), resampling, limit, protocol.EVALUATION)
    centre = Cut(options.masks.resolution, False, resampling)
    val = comparison.report_name(facts, limit, "val")
    with session(workspace, options.storage, options.compute, create=True) as opened:
        released = importing.read(file)
        importing.require_classes(facts, released)
        notes += importing.trained_elsewhere(facts, released)
        model = importing.keep(opened, released)
        prepare_flow(opened, val, facts.name, data, "val", centre, limit, options.compute)
        make_imported_current(opened, model, options)
        label_dump(
            Labelling(opened, val, options.masks, options.scores, options.compute), model.keys
        )
        report = stages.report_flow(opened, comparison.report_name(facts, limit))
        outcome = comparison.write(opened, facts, [val], notes)
        outcome["figures"] = comparison.write_figures(opened, facts, val) if figures else {}
        artifacts.benchmark_table(opened, outcome)
        artifacts.run_pages(opened, report)
    return {**outcome, "report": report}


def training_cut(method: Method, options: RunOptions, resampling: Resampling) -> Cut:
    """How training images are cut: STEGO's crops, or whole squares that PiCIE cuts its views from.

    PiCIE's are resized bilinearly, as published, whatever STEGO's are.
    """
    if method == "picie":
        return Cut(2 * options.picie.size, False, "bilinear")
    return Cut(options.features.crop_size, options.features.crops == "five", resampling)
