"""The commands: what each one runs and shows."""

from collections.abc import Callable, Sequence
from typing import Any

from tasks.options import (
    ClustersOptions,
    ComputeOptions,
    CorpusOptions,
    FeaturesOptions,
    HeadOptions,
    InboxOptions,
    MasksOptions,
    NeighborsOptions,
    PretrainOptions,
    ScoresOptions,
    StorageOptions,
)

DEMO_SCENES = 120
Shown = Callable[[], None] | None
"""What to print once the progress bars are gone."""


def run(workspace: str, dump: str | None, **sections: Any) -> Shown:
    """The whole pipeline."""
    from flows.settings import PipelineOptions
    from tasks import hub
    from tasks.listing import default_dump

    options = PipelineOptions(**sections)
    if options.features.weights is None:
        hub.require(options.features.backbone)  # before a server starts: it is known at once

    from flows.pipeline import pipeline

    outcome = pipeline(workspace=workspace, options=options, dump=dump)
    name = dump or default_dump(options.corpus.images)
    return lambda: _results(workspace, outcome["report"], [name])


def pretrain(
    workspace: str,
    dump: str | None,
    corpus: CorpusOptions,
    pretrain: PretrainOptions,
    storage: StorageOptions,
    compute: ComputeOptions,
) -> Shown:
    """A backbone of one's own."""
    from flows import console
    from flows.pretrain import pretraining
    from tasks import hub
    from tasks.model import TIMM

    if pretrain.weights == TIMM:
        hub.require(pretrain.backbone)  # before a server starts: it is known at once
    outcome = pretraining(workspace, corpus, pretrain, dump, compute, storage)
    return lambda: console.show_pretrained(outcome)


def import_checkpoint(
    workspace: str,
    file: str,
    backbone: str | None,
    taxonomy: str | None,
    packages: str | None,
    storage: StorageOptions,
) -> Shown:
    """A published STEGO model."""
    from flows import console
    from flows.published import import_checkpoint

    named = [name.strip() for name in packages.split(",")] if packages else []
    found = import_checkpoint(workspace, file, backbone, taxonomy, named, storage)
    return lambda: console.show_imported(workspace, found)


def demo(workspace: str, scenes: int | None, compute: ComputeOptions) -> Shown:
    """The whole pipeline on generated street scenes."""
    from flows import console
    from flows import demo as demo_corpus
    from flows.pipeline import pipeline
    from flows.settings import PipelineOptions
    from tasks.workspace.storage import Storage

    console.say(demo_corpus.NOTE)
    corpus = Storage.at(workspace + "-corpus")
    demo_corpus.write_corpus(corpus, scenes or DEMO_SCENES, seed=0)
    options = PipelineOptions(**demo_corpus.sections(corpus), compute=compute)
    outcome = pipeline(workspace=workspace, options=options, dump="scenes")

    def show() -> None:
        _results(workspace, outcome["report"], ["scenes"])
        console.say(demo_corpus.NOTE)

    return show


def benchmark(
    workspace: str,
    name: str,
    data: str,
    limit: int | None,
    resampling: Any,
    **sections: Any,
) -> Shown:
    """The paper's protocol on one of its data sets."""
    from flows import console
    from flows.settings import RunOptions
    from stego_core import benchmarks
    from tasks import hub
    from tasks.datasets import DataSet
    from tasks.paper import chosen_backbone

    facts = benchmarks.named(name)
    DataSet.at(data, facts).require()  # before a server starts: it is known at once
    options = RunOptions(**sections)
    if options.features.weights is None:
        hub.require(chosen_backbone(facts, dict(options)))

    from flows.benchmark import benchmark as benchmark_flow

    outcome = benchmark_flow(workspace, name, data, options, resampling or "nearest", limit)
    return lambda: console.show_benchmark(outcome)


def backfill(
    workspace: str,
    dump: str | None,
    corpus: CorpusOptions | None,
    inbox: InboxOptions | None,
    storage: StorageOptions,
    compute: ComputeOptions,
) -> Shown:
    """New dumps with the current head and clusters."""
    from flows import console
    from flows.backfill import backfill as backfill_flow

    outcome = backfill_flow(workspace, corpus, dump, inbox, compute, storage)
    if inbox and outcome["report"] is None:
        return lambda: console.say(f"nothing new under {inbox.inbox}")
    return lambda: _results(workspace, outcome["report"], outcome["dumps"])


def retrain(
    workspace: str, dumps: str | None, storage: StorageOptions, compute: ComputeOptions
) -> Shown:
    """A new head on all dumps."""
    from flows.retrain import retrain as retrain_flow

    names = [name.strip() for name in dumps.split(",")] if dumps else None
    outcome = retrain_flow(workspace, names, True, compute, storage)
    return lambda: _results(workspace, outcome["report"])


def _results(workspace: str, report: str, dumps: Sequence[str] = ()) -> None:
    from flows import console
    from tasks import status
    from tasks.summary import Summary
    from tasks.unchanged import arrived_later
    from tasks.workspace.workspace import Workspace

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
    if document["quarantine"]:
        console.say(f"{len(document['quarantine'])} files are quarantined; see the report")
    console.show_scores(document)
    console.results.print(f"report: {report}", markup=False, soft_wrap=True)


def segment(
    workspace: str, images: Sequence[str], out: str | None, compute: ComputeOptions
) -> Shown:
    """A few loose images; no dump is made."""
    from flows.segment import segment_files

    segment_files(workspace, images, out or "labelled", compute.device)
    return None


def corpus(
    workspace: str, dump: str | None, corpus: CorpusOptions, compute: ComputeOptions
) -> Shown:
    """Index a dump."""
    from flows import console
    from flows.frames import index_dump
    from tasks import status
    from tasks.listing import default_dump
    from tasks.summary import Summary
    from tasks.workspace.workspace import Workspace

    name = dump or default_dump(corpus.images)
    index_dump(Workspace.create(workspace), name, corpus, compute, continuing=True)
    summary = Summary(Workspace.open(workspace))
    return lambda: console.show_values(status.document(summary), [name])


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
    from tasks import status
    from tasks.summary import Summary
    from tasks.workspace.workspace import Workspace

    single.scores(workspace, dumps, masks, scores, compute)
    return lambda: console.show_scores(status.document(Summary(Workspace.open(workspace))))


def report(workspace: str, name: str | None) -> Shown:
    """Write the report."""
    from flows import console
    from flows.stages import report_flow

    place = report_flow(workspace, name or "latest")
    return lambda: console.results.print(f"report: {place}", markup=False, soft_wrap=True)
