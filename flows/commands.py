"""The commands: what each one needs, runs and shows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import click

from stego_core.errors import ImageError, InputError
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
    from flows.pipeline import pipeline
    from flows.settings import PipelineOptions

    outcome = pipeline(workspace, PipelineOptions(**sections), dump)
    return lambda: _results(workspace, outcome["report"])


def backfill(
    workspace: str, dump: str | None, corpus: CorpusOptions, compute: ComputeOptions
) -> Shown:
    """A new dump with the current head and clusters."""
    from flows.pipeline import backfill as backfill_flow

    outcome = backfill_flow(workspace, corpus, dump, compute)
    return lambda: _results(workspace, outcome["report"])


def _results(workspace: str, report: str) -> None:
    from flows import console
    from tasks.corpus import check_frozen
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
    from flows import console
    from flows.api import open_workspace
    from stego_core.palette import palette
    from tasks.images import decode, encode_mask
    from tasks.options import CorpusOptions
    from tasks.workspace.storage import Storage

    opened, target = open_workspace(workspace, compute.device), Storage.at(out or "labelled")
    limit = CorpusOptions.model_fields["max_pixels"].default
    names = mask_names(images)
    failed = []
    for location in images:
        path = PurePosixPath(Storage.at(location).uri)
        try:
            image = decode(read_user_file(path), limit)
        except ImageError as error:
            failed.append(f"{location}: {error}")
            continue
        classes = opened.label(image)
        target.write(names[location], encode_mask(classes, palette(len(opened.names))))
        console.say(f"{location} → {target.full(names[location])}")
    if failed:
        raise InputError(f"{len(failed)} of {len(images)} images not labelled: {'; '.join(failed)}")
    return None


def read_user_file(path: PurePosixPath) -> bytes:
    """A loose image's bytes.

    Raises:
        ImageError: it cannot be read.
    """
    from tasks.workspace.storage import Storage

    try:
        return Storage(str(path.parent)).read(path.name)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def mask_names(images: Sequence[str]) -> dict[str, str]:
    """A mask's file name for each image: its stem, or its whole name where stems collide."""
    stems = [PurePosixPath(image).stem for image in images]
    names = {
        image: f"{stem if stems.count(stem) == 1 else PurePosixPath(image).name}.png"
        for image, stem in zip(images, stems, strict=True)
    }
    if len(set(names.values())) < len(names):
        raise InputError("two of the images have the same name; label them in two calls")
    return names


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
    from tasks.corpus import default_dump

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
