"""The commands that run a whole pipeline: each calls a flow, and shows what came out."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from flows.benchmark.paper_options import BenchmarkOptions
from flows.cli.flags import Common, Dump, Dumps, Flag, Shown, Working, command, listed
from flows.reporting import benchmark_table, console, temporary_server
from flows.reporting.paused_collector import paused
from flows.runs.session import workers
from flows.runs.settings import Corpus, PipelineOptions, RunOptions, flags
from tasks.corpus.changed_files import arrived_later
from tasks.corpus.listing import default_dump
from tasks.features import hub
from tasks.features.hub import TIMM
from tasks.options import InboxOptions, PretrainOptions
from tasks.report import status
from tasks.storage.storage import Storage
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

# The flows import torch and Prefect, which takes seconds: each command does so when it runs.
DEMO_SCENES = 120
PUBLISHED = BenchmarkOptions()
"""The defaults of `stego benchmark`."""
PICIE_WEIGHTS = "--picie-weights"

NEWEST_DUMPS = 8
"""Dumps beside whose files others are looked for after a run."""


@command(makes=True)
def run(
    *, common: Common, dump: Dump = None, options: Annotated[PipelineOptions, Parameter(name="*")]
) -> Shown:
    """Label a folder of images, from nothing to the report.

    A flag that is listed in two sections, such as --seed, sets both.
    """
    if options.features.weights is None:
        hub.require(options.features.backbone)  # before a server starts: it is known at once
    _require_picie(options)

    with ExitStack() as until_the_end:
        with temporary_server.beside():
            from flows.runs.pipeline import pipeline

            until_the_end.enter_context(workers(options.compute))  # beside the server's start
        outcome = pipeline(workspace=common.workspace, options=options, dump=dump)
    name = dump or default_dump(options.corpus.images)
    return lambda: _results(common.workspace, outcome["report"], [name])


@command()
def backfill(
    *,
    common: Working,
    dump: Dump = None,
    corpus: Corpus | None = None,
    inbox: Annotated[InboxOptions | None, flags("inbox")] = None,
) -> Shown:
    """Label new dumps with the current head and clusters."""
    with temporary_server.beside():
        from flows.runs.backfill import backfill as backfill_flow

    outcome = backfill_flow(common.workspace, corpus, dump, inbox, common.compute, common.storage)
    if inbox and outcome["report"] is None:
        return lambda: console.say(f"nothing new under {inbox.inbox}")
    return lambda: _results(common.workspace, outcome["report"], outcome["dumps"])


@command()
def retry_quarantined(
    *,
    common: Working,
    dump: Annotated[
        str | None, Parameter(help="The dump's name; default: all that have quarantined images.")
    ] = None,
) -> Shown:
    """Try just the quarantined images of dumps again; those that can be had now are new dumps.

    A dump NAME is immutable: its images are labelled as NAME-again-1, under the ids they have.
    """
    with temporary_server.beside():
        from flows.runs.retry import retry

    outcome = retry(common.workspace, dump, common.compute, common.storage)
    if not outcome["dumps"]:
        return lambda: console.say("no image is quarantined that could be tried again")
    return lambda: _results(common.workspace, outcome["report"], outcome["dumps"])


@command()
def retrain(
    *, common: Working, dumps: Dumps = None, classes: int | Literal["auto"] | None = None
) -> Shown:
    """Train a new head on all dumps and label them anew.

    Args:
        classes: So many clusters K, or with auto as many as --max-classes of the last run, to be
            merged; default: as the last run was told, else as many as the classes of the dumps'
            taxonomies.
    """
    with temporary_server.beside():
        from flows.runs.retrain import retrain as retrain_flow

    given = common.workspace, listed(dumps), True, classes, common.compute, common.storage
    outcome = retrain_flow(*given)
    return lambda: _results(common.workspace, outcome["report"])


@command(makes=True)
def pretrain(
    *,
    common: Working,
    dump: Dump = None,
    corpus: Corpus,
    pretrain: Annotated[PretrainOptions, flags("pretrain")] = PretrainOptions(),
) -> Shown:
    """Train a backbone on a folder of images by self-distillation."""
    if pretrain.weights == TIMM:
        hub.require(pretrain.backbone)  # before a server starts: it is known at once

    with temporary_server.beside():
        from flows.runs.pretrain import pretraining

    outcome = pretraining(common.workspace, corpus, pretrain, dump, common.compute, common.storage)
    return lambda: console.show_pretrained(outcome)


@command(makes=True)
def benchmark(
    name: str,
    /,
    *,
    common: Common,
    data: str,
    limit: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    resampling: Literal["nearest", "bilinear"] = "nearest",
    checkpoint: str | None = None,
    checkpoints: Annotated[int | None, Parameter(validator=validators.Number(gte=2))] = None,
    figures: Flag = False,
    method: Literal["stego", "picie"] = "stego",
    options: Annotated[BenchmarkOptions, Parameter(name="*")] = PUBLISHED,
) -> Shown:
    """Train and evaluate on a data set of the paper; options left out are as published.

    Args:
        name: cocostuff27, cocostuff15, cocostuff3, cityscapes27 or potsdam3.
        data: Folder or URI that holds the data set in its own form.
        limit: For a trial: only so many images of each split, the first ones.
        resampling: How images are resized; the released code takes the nearest pixel.
        checkpoint: Path or URI of a released model, which is evaluated; nothing is trained.
        checkpoints: So many heads on the way of the training are scored, and the best is named;
            the labels of the validation split choose it, as in several published systems.
        figures: The comparison (image, label, classes) and the correspondences are drawn, too.
        method: What is trained: STEGO, or its baseline PiCIE.
    """
    from stego_core.paper import published_protocol
    from stego_core.paper.published_protocol import Split
    from tasks.paper.datasets import DataSet
    from tasks.paper.protocol import chosen_backbone

    facts = published_protocol.named(name)
    splits: tuple[Split, ...] = ("train", "val") if checkpoint is None else ("val",)
    DataSet.at(data, facts).require(splits)  # before a server starts: it is known at once
    if method == "stego" and options.features.weights is None and checkpoint is None:
        hub.require(chosen_backbone(facts, dict(options)))
    _require_picie(options, trained=method == "picie")

    with temporary_server.beside():
        from flows.benchmark.paper import benchmark as benchmark_flow

    given = (
        common.workspace,
        name,
        data,
        options,
        resampling,
        limit,
        checkpoint,
        checkpoints,
        figures,
        method,
    )
    outcome = benchmark_flow(*given)
    return lambda: benchmark_table.show(outcome)


@command(makes=True)
def import_checkpoint(
    file: str,
    /,
    *,
    common: Common,
    backbone: str | None = None,
    taxonomy: str | None = None,
) -> Shown:
    """Take over a published STEGO model: backbone, head and clusters of a .ckpt file.

    Args:
        file: Path or URI of the checkpoint.
        backbone: timm's name of the checkpoint's backbone; default: inferred from the shapes.
        taxonomy: JSON file of the linear probe's classes, in their order: names clusters.
    """
    from flows.runs.import_checkpoint import import_checkpoint

    model = import_checkpoint(common.workspace, file, backbone, taxonomy, common.storage)
    return lambda: console.show_imported(common.workspace, model)


@command(makes=True)
def demo(
    *,
    common: Working,
    scenes: Annotated[int, Parameter(validator=validators.Number(gte=32))] = DEMO_SCENES,
    offline: Flag = False,
) -> Shown:
    """The pipeline on generated scenes.

    Args:
        scenes: So many scenes are generated.
        offline: The bundled backbone is taken, and no network is asked. By default it is DINO where
            its weights are on this machine or the hub answers at once, else the bundled one.
    """
    with temporary_server.beside():
        from flows.demo import demo_corpus
        from flows.runs.pipeline import pipeline

        choice = demo_corpus.chosen(offline)
        console.say(choice.note)
        corpus = Storage.at(common.workspace + "-corpus")
        demo_corpus.write_corpus(corpus, scenes, seed=0)
    options = PipelineOptions(**demo_corpus.sections(corpus, choice), compute=common.compute)
    outcome = pipeline(workspace=common.workspace, options=options, dump="scenes")

    def show() -> None:
        _results(common.workspace, outcome["report"], ["scenes"])
        console.say(choice.note)

    return show


@command()
def segment(images: list[str], /, *, common: Working, out: str = "labelled") -> None:
    """Label a few loose images.

    Args:
        images: Paths or URIs of image files.
        out: Folder or URI for the masks.
    """
    with paused():
        from flows.cli.segment import segment_files
        from stego_core.backbone import timm_library

        timm_library.timm()  # which the backbone is built with

    segment_files(common.workspace, images, out, common.compute.device)


def _require_picie(options: RunOptions, trained: bool = False) -> None:
    """WeightsError where PiCIE is trained, too, and timm's weights for it cannot be had."""
    wanted = trained or options.scores.baseline == "picie"
    if wanted and options.picie.weights is None:
        hub.require(options.picie.network, PICIE_WEIGHTS)


def _results(workspace: str, report: str, dumps: Sequence[str] = ()) -> None:
    summary = Summary(Workspace.open(workspace))
    document = status.document(summary)
    for dump in dict.fromkeys([*summary.dumps[-NEWEST_DUMPS:], *dumps]):
        left_out = arrived_later(summary.workspace, dump)
        if left_out:
            console.say(
                f"warning: {len(left_out)} files beside dump {dump} came later and are not in it "
                f"({left_out[0]}, …); label them with `stego backfill --dump NAME`"
            )
    console.show_values(document, dumps)
    console.show_drift(document, dumps)
    if document["unusable"]:
        console.say(f"{document['unusable']} files are quarantined; see the report")
    console.show_scores(document)
    clusters = summary.whole("clusters") or {}
    if clusters.get("options", {}).get("classes") == "auto":
        made, most = clusters["classes"], clusters["options"]["max_classes"]
        fewer = f", fewer than --max-classes {most}" if made < most else ""
        console.say(
            f"{made} clusters were made{fewer}; `stego name suggested` shows which are alike"
        )
    console.line(f"report: {report}")
