"""The commands: what each one needs, runs and shows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

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

DEMO_SCENES = 120
DEMO_STEPS = 300
Shown = Callable[[], None] | None
"""What to print once the progress bars are gone."""


@dataclass(frozen=True)
class CommandSpec:
    """One command of `stego`.

    Attributes:
        name: as typed.
        help: one sentence.
        run: called with the workspace, a keyword per section and per extra parameter.
        sections: option sections whose options become flags.
        parameters: extra click parameters.
        continues: whether unset options are those of the workspace's last run.
    """

    name: str
    help: str
    run: Callable[..., Shown]
    sections: Sequence[str] = ()
    parameters: Sequence[click.Parameter] = ()
    continues: bool = False


def run(workspace: str, dump: str | None, **sections: Any) -> Shown:
    """The whole pipeline."""
    from flows.settings import PipelineOptions
    from tasks import hub

    options = PipelineOptions(**sections)
    if options.features.weights is None:
        hub.require(options.features.backbone)  # before a server starts: it is known at once

    from flows.pipeline import pipeline

    outcome = pipeline(workspace, options, dump)
    return lambda: _results(workspace, outcome["report"])


def demo(workspace: str, scenes: int | None, compute: ComputeOptions) -> Shown:
    """The whole pipeline on generated street scenes."""
    from flows import console
    from flows import demo as demo_corpus
    from flows.pipeline import pipeline
    from flows.settings import PipelineOptions, built
    from tasks.workspace.storage import Storage

    chosen = demo_corpus.backbone()
    console.say(chosen.note)
    corpus = Storage.at(workspace + "-corpus")
    demo_corpus.write_corpus(corpus, scenes or DEMO_SCENES, seed=0)
    options = PipelineOptions(
        corpus=built(
            "corpus",
            {
                "images": corpus.full("images"),
                "labels": corpus.full("labels"),
                "taxonomy": corpus.full("taxonomy.json"),
            },
        ),
        features=FeaturesOptions(backbone=chosen.name, weights=chosen.weights, layer=chosen.layer),
        head=HeadOptions(steps=DEMO_STEPS),
        compute=compute,
    )
    outcome = pipeline(workspace, options, "scenes")

    def show() -> None:
        _results(workspace, outcome["report"])
        console.say(chosen.note)

    return show


def backfill(
    workspace: str, dump: str | None, corpus: CorpusOptions, compute: ComputeOptions
) -> Shown:
    """A new dump with the current head and clusters."""
    from flows.pipeline import backfill as backfill_flow

    outcome = backfill_flow(workspace, corpus, dump, compute)
    return lambda: _results(workspace, outcome["report"])


def _results(workspace: str, report: str) -> None:
    from flows import console
    from tasks.listing import check_frozen
    from tasks.summary import Summary
    from tasks.workspace.workspace import Workspace

    summary = Summary(Workspace.open(workspace))
    document = summary.document()
    for dump in summary.dumps:
        left_out = check_frozen(summary.workspace, dump)
        if left_out:
            console.say(
                f"warning: {len(left_out)} images beside dump {dump} came later and are not in it "
                f"({left_out[0]}, …); label them with `stego backfill --dump NAME`"
            )
    if document["quarantine"]:
        console.say(f"{len(document['quarantine'])} files are quarantined; see the report")
    if document["scores"]:
        console.show_scores(document["scores"])
    console.results.print(f"report: {report}", markup=False, soft_wrap=True)


def segment(
    workspace: str, images: Sequence[str], out: str | None, compute: ComputeOptions
) -> Shown:
    """A few loose images; no dump is made."""
    from flows.segment import segment_files

    segment_files(workspace, images, out or "labelled", compute.device)
    return None


def status(workspace: str, as_json: bool | None) -> Shown:
    """What the workspace holds."""
    from flows import console
    from tasks.summary import Summary
    from tasks.workspace.workspace import Workspace

    document = Summary(Workspace.open(workspace)).document()
    if as_json:
        return lambda: click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    return lambda: console.show_status(document)


def corpus(workspace: str, dump: str | None, corpus: CorpusOptions) -> Shown:
    """Index a dump."""
    from flows.stages import corpus_flow
    from tasks.listing import default_dump

    corpus_flow(workspace, dump or default_dump(corpus.images), corpus)
    return None


def features(
    workspace: str, dumps: str | None, features: FeaturesOptions, compute: ComputeOptions
) -> Shown:
    """Features of dumps."""
    from flows import single

    single.features(workspace, dumps, features, compute)
    return None


def neighbors(
    workspace: str, dumps: str | None, neighbors: NeighborsOptions, compute: ComputeOptions
) -> Shown:
    """Neighbours of dumps."""
    from flows import single

    single.neighbors(workspace, dumps, neighbors, compute)
    return None


def head(workspace: str, head: HeadOptions, compute: ComputeOptions) -> Shown:
    """Train the head."""
    from flows import single

    single.head(workspace, head, compute)
    return None


def clusters(workspace: str, clusters: ClustersOptions, compute: ComputeOptions) -> Shown:
    """Cluster the codes."""
    from flows import single

    single.clusters(workspace, clusters, compute)
    return None


def masks(workspace: str, dumps: str | None, masks: MasksOptions, compute: ComputeOptions) -> Shown:
    """Label dumps."""
    from flows import single

    single.masks(workspace, dumps, masks, compute)
    return None


def scores(
    workspace: str,
    dumps: str | None,
    masks: MasksOptions,
    scores: ScoresOptions,
    compute: ComputeOptions,
) -> Shown:
    """Score dumps."""
    from flows import console, single
    from tasks.summary import Summary
    from tasks.workspace.workspace import Workspace

    single.scores(workspace, dumps, masks, scores, compute)
    return lambda: console.show_scores(Summary(Workspace.open(workspace)).document()["scores"])


def report(workspace: str, name: str | None) -> Shown:
    """Write the report."""
    from flows import console
    from flows.stages import report_flow

    place = report_flow(workspace, name or "latest")
    return lambda: console.results.print(f"report: {place}", markup=False, soft_wrap=True)


SCENES = click.Option(["--scenes"], type=click.IntRange(32), help="Scenes. [default: 120]")
DUMP = click.Option(["--dump"], help="The dump's name; default: the last part of --images.")
DUMPS = click.Option(["--dumps"], help="Dumps, separated by commas; default: all of them.")
IMAGES = click.Argument(["images"], nargs=-1, required=True)
OUT = click.Option(["--out"], help="Folder or URI for the masks. [default: labelled]")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
NAME = click.Option(["--name"], help="The report's folder. [default: latest]")
ALL = ("corpus", "features", "neighbors", "head", "clusters", "masks", "scores", "compute")

COMMANDS = (
    CommandSpec("run", "Label a folder of images, from nothing to the report.", run, ALL, [DUMP]),
    CommandSpec(
        "backfill",
        "Label a new dump with the current head and clusters.",
        backfill,
        ("corpus", "compute"),
        [DUMP],
    ),
    CommandSpec("demo", "The pipeline on generated scenes.", demo, ("compute",), [SCENES]),
    CommandSpec("segment", "Label a few loose images.", segment, ("compute",), [IMAGES, OUT]),
    CommandSpec("status", "What the workspace holds.", status, (), [JSON]),
    CommandSpec("corpus", "Index a dump of images.", corpus, ("corpus",), [DUMP]),
    CommandSpec("features", "Extract features.", features, ("features", "compute"), [DUMPS], True),
    CommandSpec(
        "neighbors", "Find neighbours.", neighbors, ("neighbors", "compute"), [DUMPS], True
    ),
    CommandSpec("head", "Train the head.", head, ("head", "compute"), [], True),
    CommandSpec("clusters", "Cluster the codes.", clusters, ("clusters", "compute"), [], True),
    CommandSpec("masks", "Label dumps.", masks, ("masks", "compute"), [DUMPS], True),
    CommandSpec(
        "scores",
        "Score masks against labels.",
        scores,
        ("masks", "scores", "compute"),
        [DUMPS],
        True,
    ),
    CommandSpec("report", "Write the report.", report, (), [NAME], True),
)
