"""The list of commands: their names, what they take, and which function runs them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from flows import commands


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
        writes: whether it changes the workspace without a flow that sees to being alone.
        optional: sections that are None where none of their options is given.
    """

    name: str
    help: str
    run: Callable[..., commands.Shown]
    sections: Sequence[str] = ()
    parameters: Sequence[click.Parameter] = ()
    continues: bool = False
    writes: bool = False
    optional: Sequence[str] = ()


def _stage(
    name: str, sentence: str, run: Callable[..., commands.Shown], *parameters: click.Parameter
) -> CommandSpec:
    """One stage by its name, going on from what is current."""
    return CommandSpec(name, sentence, run, (name, "compute"), parameters, True, True)


SCENES = click.Option(["--scenes"], type=click.IntRange(32), help="Scenes. [default: 120]")
DUMP = click.Option(["--dump"], help="The dump's name; default: the last part of --images.")
DUMPS = click.Option(["--dumps"], help="Dumps, separated by commas; default: all of them.")
IMAGES = click.Argument(["images"], nargs=-1, required=True)
OUT = click.Option(["--out"], help="Folder or URI for the masks. [default: labelled]")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
NAME = click.Option(["--name"], help="The report's folder. [default: latest]")
BENCHMARK = click.Argument(
    ["name"], metavar="cocostuff27|cocostuff15|cocostuff3|cityscapes27|potsdam3"
)
DATA = click.Option(
    ["--data"], required=True, help="Folder or URI that holds the data set in its own form."
)
LIMIT = click.Option(
    ["--limit"],
    type=click.IntRange(1),
    help="For a trial: only so many images of each split, the first ones.",
)
RESAMPLING = click.Option(
    ["--resampling"],
    type=click.Choice(["nearest", "bilinear"]),
    help="How images are resized. [default: nearest, as in the released code]",
)
PORT = click.Option(["--port"], type=int, help="Port; 0 for any free one. [default: 8765]")
HOST = click.Option(["--host"], help="Address to listen on. [default: 127.0.0.1]")
NO_BROWSER = click.Option(["--no-browser"], is_flag=True, help="Do not open the page.")
INBOX = click.Option(["--inbox"], help="Folder or URI whose every new folder is a dump.")
FILE = click.Argument(["file"])
BACKBONE = click.Option(
    ["--backbone"], help="timm's name of the checkpoint's backbone; default: told by its shapes."
)
TAXONOMY = click.Option(
    ["--taxonomy"], help="JSON file of the linear probe's classes, in their order: names clusters."
)
PACKAGES = click.Option(
    ["--packages"],
    help="Further packages, separated by commas, whose configuration classes the file may name; "
    "nothing is imported from them.",
)
ALL = (
    "corpus", "features", "neighbors", "head", "clusters", "masks", "scores", "storage", "compute"
)  # fmt: skip

COMMANDS = (
    CommandSpec(
        "run", "Label a folder of images, from nothing to the report.", commands.run, ALL, [DUMP]
    ),
    CommandSpec(
        "backfill",
        "Label new dumps with the current head and clusters.",
        commands.backfill,
        ("corpus", "storage", "compute"),
        [DUMP, INBOX],
        optional=("corpus",),
    ),
    CommandSpec(
        "retrain",
        "Train a new head on all dumps and label them anew.",
        commands.retrain,
        ("storage", "compute"),
        [DUMPS],
    ),
    CommandSpec(
        "pretrain",
        "Train a backbone on a folder of images by self-distillation.",
        commands.pretrain,
        ("corpus", "pretrain", "storage", "compute"),
        [DUMP],
    ),
    CommandSpec(
        "benchmark",
        "Train and evaluate on a data set of the paper, as published; options that are left out "
        "are the published ones.",
        commands.benchmark,
        ALL[1:],
        [BENCHMARK, DATA, LIMIT, RESAMPLING],
    ),
    CommandSpec(
        "import-checkpoint",
        "Take over a published STEGO model: backbone, head and clusters of a .ckpt file.",
        commands.import_checkpoint,
        ("storage",),
        [FILE, BACKBONE, TAXONOMY, PACKAGES],
    ),
    CommandSpec("demo", "The pipeline on generated scenes.", commands.demo, ("compute",), [SCENES]),
    CommandSpec(
        "segment", "Label a few loose images.", commands.segment, ("compute",), [IMAGES, OUT]
    ),
    CommandSpec("status", "What the workspace holds.", commands.status, (), [JSON]),
    CommandSpec(
        "explore",
        "Look at images, masks and correspondences in the browser, and name classes there.",
        commands.explore,
        (),
        [PORT, HOST, NO_BROWSER],
    ),
    CommandSpec(
        "corpus", "Index a dump of images.", commands.corpus, ("corpus",), [DUMP], writes=True
    ),
    _stage("features", "Extract features.", commands.features, DUMPS),
    _stage("neighbors", "Find neighbours.", commands.neighbors, DUMPS),
    _stage("head", "Train the head.", commands.head),
    _stage("clusters", "Cluster the codes.", commands.clusters),
    _stage("masks", "Label dumps.", commands.masks, DUMPS),
    CommandSpec(
        "scores",
        "Score masks against labels.",
        commands.scores,
        ("masks", "scores", "compute"),
        [DUMPS],
        continues=True,
        writes=True,
    ),
    CommandSpec("report", "Write the report.", commands.report, (), [NAME], continues=True),
)
