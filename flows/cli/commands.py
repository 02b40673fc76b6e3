"""The commands that run a whole pipeline: each calls a flow, and shows what came out."""

from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from flows.cli.flags import Common, Dump, Dumps, Shown, Working, command, listed
from flows.reporting import console
from flows.runs.settings import Corpus, PipelineOptions, RunOptions, flags
from tasks.corpus.changed_files import arrived_later
from tasks.corpus.listing import default_dump
from tasks.features import hub
from tasks.options import InboxOptions, PretrainOptions
from tasks.report import status
from tasks.storage.storage import Storage
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

# The flows import torch and Prefect, which takes seconds: each command does so when it runs.
DEMO_SCENES = 120


@command(makes=True)
def run(
    *, common: Common, dump: Dump = None, options: Annotated[PipelineOptions, Parameter(name="*")]
) -> Shown:
    """Label a folder of images, from nothing to the report.

    A flag that is listed in two sections, such as --seed, sets both.
    """
    if options.features.weights is None:
        hub.require(options.features.backbone)  # before a server starts: it is known at once

    from flows.runs.pipeline import pipeline

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
    from flows.runs.backfill import backfill as backfill_flow

    outcome = backfill_flow(common.workspace, corpus, dump, inbox, common.compute, common.storage)
    if inbox and outcome["report"] is None:
        return lambda: console.say(f"nothing new under {inbox.inbox}")
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
    from flows.runs.pretrain import pretraining
    from tasks.features.backbones import TIMM

    if pretrain.weights == TIMM:
        hub.require(pretrain.backbone)  # before a server starts: it is known at once
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
    options: Annotated[RunOptions, Parameter(name="*")] = RunOptions(),
) -> Shown:
    """Train and evaluate on a data set of the paper; options left out are as published.

    Args:
        name: cocostuff27, cocostuff15, cocostuff3, cityscapes27 or potsdam3.
        data: Folder or URI that holds the data set in its own form.
        limit: For a trial: only so many images of each split, the first ones.
        resampling: How images are resized; the released code takes the nearest pixel.
    """
    from stego_core.paper import published_protocol
    from tasks.paper.datasets import DataSet
    from tasks.paper.protocol import chosen_backbone

    facts = published_protocol.named(name)
    DataSet.at(data, facts).require()  # before a server starts: it is known at once
    if options.features.weights is None:
        hub.require(chosen_backbone(facts, dict(options)))

    from flows.runs.paper import benchmark as benchmark_flow

    outcome = benchmark_flow(common.workspace, name, data, options, resampling, limit)
    return lambda: console.show_benchmark(outcome)


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
) -> Shown:
    """The pipeline on generated scenes.

    Args:
        scenes: So many scenes are generated.
    """
    from flows.demo import demo_corpus
    from flows.runs.pipeline import pipeline

    console.say(demo_corpus.NOTE)
    corpus = Storage.at(common.workspace + "-corpus")
    demo_corpus.write_corpus(corpus, scenes, seed=0)
    options = PipelineOptions(**demo_corpus.sections(corpus), compute=common.compute)
    outcome = pipeline(workspace=common.workspace, options=options, dump="scenes")

    def show() -> None:
        _results(common.workspace, outcome["report"], ["scenes"])
        console.say(demo_corpus.NOTE)

    return show


@command()
def segment(images: list[str], /, *, common: Working, out: str = "labelled") -> None:
    """Label a few loose images.

    Args:
        images: Paths or URIs of image files.
        out: Folder or URI for the masks.
    """
    from flows.cli.segment import segment_files

    segment_files(common.workspace, images, out, common.compute.device)


def _results(workspace: str, report: str, dumps: Sequence[str] = ()) -> None:
    summary = Summary(Workspace.open(workspace))
    document = status.document(summary)
    for dump in summary.dumps:
        left_out = arrived_later(summary.workspace, dump)
        if left_out:
            console.say(
                f"warning: {len(left_out)} files beside dump {dump} came later and are not in it "
                f"({left_out[0]}, …); label them with `stego backfill --dump NAME`"
            )
    console.show_values(document, dumps)
    console.show_drift(document, dumps)
    if document["quarantine"]:
        console.say(f"{len(document['quarantine'])} files are quarantined; see the report")
    console.show_scores(document)
    clusters = summary.whole("clusters") or {}
    if clusters.get("options", {}).get("classes") == "auto":
        made, most = clusters["classes"], clusters["options"]["max_classes"]
        fewer = f", fewer than --max-classes {most}" if made < most else ""
        console.say(
            f"{made} clusters were made{fewer}; `stego name suggested` shows which are alike"
        )
    console.line(f"report: {report}")
