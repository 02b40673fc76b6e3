"""The list of commands: their names, what they take, and which function runs them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import click

from flows import commands, results
from tasks.options import ExportFormat


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
        makes: whether it makes the workspace where there is none.
    """

    name: str
    help: str
    run: Callable[..., commands.Shown]
    sections: Sequence[str] = ()
    parameters: Sequence[click.Parameter] = ()
    continues: bool = False
    writes: bool = False
    optional: Sequence[str] = ()
    makes: bool = False


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
DOUBTFUL = click.Option(
    ["--doubtful"],
    type=click.IntRange(1),
    metavar="N",
    help="List the N images to look at first: those that are least certain.",
)
NAMING = [
    click.Argument(["which"], metavar="[CLASS[,CLASS]]", required=False),
    click.Argument(["name"], metavar="[NAME]", required=False),
    click.Option(["--colour"], help="Colour of the class, such as #1f77b4."),
    click.Option(["--into"], metavar="CLASS", help="Merge the classes into this one."),
    click.Option(["--split"], is_flag=True, help="Take merged classes apart again."),
    click.Option(
        ["--ignore/--no-ignore"], default=None, help="Their pixels belong to no class, or do again."
    ),
    click.Option(["--undo"], is_flag=True, help="Go back to before the last edit."),
    click.Option(["--history"], is_flag=True, help="List every revision."),
    click.Option(
        ["--propose"],
        is_flag=True,
        help="Propose names from the dumps' labels, or from a few labelled images.",
    ),
    click.Option(["--images"], help="Folder or URI of some images to propose names from."),
    click.Option(["--labels"], help="Folder or URI of their labels."),
    click.Option(["--taxonomy"], help="JSON file of the labels' class names."),
    click.Option(
        ["--previous"],
        is_flag=True,
        help="Propose the names that classes had before a retraining, by where the masks agree.",
    ),
    click.Option(["--accept"], is_flag=True, help="Take the proposed names; merges equal ones."),
    click.Option(
        ["--support"],
        type=click.FloatRange(0, 1),
        help="Least share of a cluster's labelled pixels that must have the proposed name. "
        "[default: 0.5]",
    ),
]
FORMAT = click.Option(
    ["--format", "kind"], type=click.Choice(get_args(ExportFormat)), required=True, help="Format."
)
PLACE = click.Option(
    ["--out"],
    required=True,
    help="Folder or URI: empty, or with an earlier export of this format, which is replaced.",
)
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
EXPORT_ROOT = click.Option(
    ["--export-root"],
    multiple=True,
    help="Folder or URI below which the page may export; may be repeated. "
    "[default: exports/ in the workspace]",
)
ALLOW_CHANGES = click.Option(
    ["--allow-changes"],
    is_flag=True,
    help="Let other machines change classes and export, where --host lets them in.",
)
FILE = click.Argument(["file"])
BACKBONE = click.Option(
    ["--backbone"], help="timm's name of the checkpoint's backbone; default: told by its shapes."
)
TAXONOMY = click.Option(
    ["--taxonomy"], help="JSON file of the linear probe's classes, in their order: names clusters."
)
ALL = (
    "corpus", "features", "neighbors", "head", "clusters", "masks", "scores", "storage", "compute"
)  # fmt: skip

COMMANDS = (
    CommandSpec(
        "run",
        "Label a folder of images, from nothing to the report.",
        commands.run,
        ALL,
        [DUMP],
        makes=True,
    ),
    CommandSpec(
        "backfill",
        "Label new dumps with the current head and clusters.",
        commands.backfill,
        ("corpus", "inbox", "storage", "compute"),
        [DUMP],
        optional=("corpus", "inbox"),
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
        makes=True,
    ),
    CommandSpec(
        "benchmark",
        "Train and evaluate on a data set of the paper, as published; options that are left out "
        "are the published ones.",
        commands.benchmark,
        ALL[1:],
        [BENCHMARK, DATA, LIMIT, RESAMPLING],
        makes=True,
    ),
    CommandSpec(
        "import-checkpoint",
        "Take over a published STEGO model: backbone, head and clusters of a .ckpt file.",
        commands.import_checkpoint,
        ("storage",),
        [FILE, BACKBONE, TAXONOMY],
        makes=True,
    ),
    CommandSpec(
        "demo",
        "The pipeline on generated scenes.",
        commands.demo,
        ("compute",),
        [SCENES],
        makes=True,
    ),
    CommandSpec(
        "segment", "Label a few loose images.", commands.segment, ("compute",), [IMAGES, OUT]
    ),
    CommandSpec("status", "What the workspace holds.", results.status, (), [JSON, DOUBTFUL]),
    CommandSpec(
        "explore",
        "Look at images, masks and correspondences in the browser, and name classes there.",
        results.explore,
        (),
        [PORT, HOST, NO_BROWSER, EXPORT_ROOT, ALLOW_CHANGES],
    ),
    CommandSpec(
        "name",
        "Show the classes; name, colour, merge or ignore them. Masks stay as they are.",
        results.name,
        ("compute",),
        [*NAMING, JSON],
    ),
    CommandSpec(
        "export",
        "Write the masks in a form that another tool reads.",
        results.export,
        ("export",),
        [FORMAT, PLACE, DUMPS],
    ),
    CommandSpec(
        "corpus",
        "Index a dump of images and videos.",
        commands.corpus,
        ("corpus", "compute"),
        [DUMP],
        writes=True,
        makes=True,
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
