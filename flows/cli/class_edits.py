"""`stego name`: what people call the clusters, edited and shown."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from flows.cli import class_tables
from flows.cli.flags import DEFAULT, Common, Flag, Printing, PrintOptions, Shown, app, command
from flows.cli.results import printed
from flows.runs.settings import Compute
from stego_core.errors import OptionError
from stego_core.labels.class_names import ClassNames, Proposal, accepted
from tasks.class_names import classes_file, merge_suggestions
from tasks.class_names.classes_file import NamedClasses
from tasks.class_names.proposals import from_labelled, from_previous, from_scores
from tasks.log import Log
from tasks.options import ComputeOptions, CorpusOptions
from tasks.workspace.summary import Summary

log = Log(__name__)
HELP = "Show the classes; name, colour, merge or ignore them. Masks stay as they are."
names = App("name", help=HELP)
app.command(names)
Which = Annotated[str, Parameter(help="Ids or names of classes, separated by commas.")]

Groups = Annotated[
    int | None,
    Parameter(help="So many groups; default: as many as are suggested."),
]


@command(DEFAULT, parent=names)
def show(*, common: Printing) -> Shown:
    """Show the classes."""
    return _shown(common, classes_file.current_names(common.opened()))


@command("set", parent=names)
def set_class(
    which: str, name: str | None = None, /, *, common: Printing, colour: str | None = None
) -> Shown:
    """Name or colour a class.

    Args:
        which: Id or name of the class.
        name: Its new name.
        colour: Its new colour, such as #1f77b4.
    """
    changes = {"named": name, "coloured": colour}
    done = ", ".join(f"{what} {value}" for what, value in changes.items() if value is not None)
    if not done:
        raise OptionError(f"what shall become of class {which}? give a name or --colour")

    def edit(classes: ClassNames, numbers: list[int]) -> ClassNames:
        if len(numbers) > 1:
            raise OptionError(f"{which} cannot have one name or colour; use `stego name merge`")
        return classes.edited(numbers[0], name, colour)

    return _edited(common, which, done, edit)


@command(parent=names)
def merge(which: Which, into: str, /, *, common: Printing) -> Shown:
    """Let classes count as another one from now on.

    Args:
        into: Id or name of the class that they count as.
    """

    def edit(classes: ClassNames, numbers: list[int]) -> ClassNames:
        return classes.merged(numbers, classes.find(into))

    return _edited(common, which, f"merged into {into}", edit)


@command(parent=names)
def suggested(*, common: Printing, groups: Groups = None) -> Shown:
    """Show which classes are alike and could be merged; changes nothing."""
    workspace = common.opened()
    classes = classes_file.current_names(workspace).classes
    suggestion = merge_suggestions.suggestion(Summary(workspace), classes, groups)
    if common.as_json:
        return printed(suggestion.document())
    return lambda: class_tables.show_suggestion(suggestion, classes)


@command(parent=names)
def merge_suggested(*, common: Printing, groups: Groups = None) -> Shown:
    """Merge the classes that `stego name suggested` shows; `stego name undo` goes back."""

    def change(classes: ClassNames) -> tuple[ClassNames, str]:
        suggestion = merge_suggestions.suggestion(Summary(common.opened()), classes, groups)
        return suggestion.taken(classes), f"merged into {len(suggestion.groups)} as suggested"

    return _changed(common, change)


@command(parent=names)
def split(which: Which, /, *, common: Printing) -> Shown:
    """Take merged classes apart again."""
    return _edited(common, which, "taken apart", lambda now, ids: now.merged(ids, None))


@command(parent=names)
def ignore(which: Which, /, *, common: Printing) -> Shown:
    """Let the pixels of classes belong to no class."""
    return _edited(common, which, "ignored", lambda now, ids: now.ignoring(ids))


@command(parent=names)
def unignore(which: Which, /, *, common: Printing) -> Shown:
    """Let the pixels of ignored classes belong to them again."""
    done = "not ignored any more"
    return _edited(common, which, done, lambda now, ids: now.ignoring(ids, False))


@command(parent=names)
def undo(*, common: Printing) -> Shown:
    """Go back to before the last edit; again: further back."""
    return _shown(common, classes_file.undo(common.opened()))


@command(parent=names)
def history(*, common: Common) -> Shown:
    """List every revision."""
    revisions = classes_file.history(common.opened())
    return lambda: class_tables.show_history(revisions)


@command(parent=names)
def propose(
    *,
    common: Printing,
    images: str | None = None,
    labels: str | None = None,
    taxonomy: str | None = None,
    previous: Flag = False,
    accept: Flag = False,
    support: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))] = 0.5,
    compute: Compute = ComputeOptions(),
) -> Shown:
    """Propose names from the dumps' labels, or from a few labelled images.

    Args:
        images: Folder or URI of some images to propose names from.
        labels: Folder or URI of their labels.
        taxonomy: JSON file of the labels' class names.
        previous: Propose the names that classes had before a retraining, by where the masks agree.
        accept: Take the proposed names; merges equal ones.
        support: Least share of a cluster's labelled pixels that must have the proposed name.
    """
    if (images is None) != (labels is None):
        raise OptionError("--images and --labels go together: images to propose names from")
    if previous and (images or taxonomy):
        raise OptionError("--previous takes names from the masks before; give no labels with it")
    summary, colours = Summary(common.opened()), dict[str, str]()
    if previous:
        proposals, colours = from_previous(summary)
    elif images:
        corpus = CorpusOptions(images=images, labels=labels, taxonomy=taxonomy)
        proposals = _from_images(common.workspace, corpus, compute.device)
    else:
        proposals = from_scores(summary, taxonomy)
    if accept:
        note = "names from before" if previous else "names from labels"
        return _changed(common, lambda now: (accepted(now, proposals, support, colours), note))
    if common.as_json:
        return printed([asdict(proposal) for proposal in proposals])
    return lambda: class_tables.show_proposals(proposals, support)


def _from_images(workspace: str, corpus: CorpusOptions, device: str) -> list[Proposal]:
    from flows.api import open_workspace  # torch takes seconds

    opened = open_workspace(workspace, device)
    clusters = len(opened.classes.entries)
    proposals, unusable = from_labelled(corpus, opened.read, opened.clusters, clusters)
    for reason in unusable:
        log.warning("image left out", reason=reason)
    return proposals


def _edited(
    common: PrintOptions, which: str, done: str, edit: Callable[[ClassNames, list[int]], ClassNames]
) -> Shown:
    """Edit the classes that `which` lists; the note names them, then what was done."""

    def change(classes: ClassNames) -> tuple[ClassNames, str]:
        numbers = [classes.find(part) for part in which.split(",")]
        listed = ", ".join(f"{number} {classes.entries[number].name}" for number in numbers)
        return edit(classes, numbers), f"{listed} {done}"

    return _changed(common, change)


def _changed(common: PrintOptions, change: Callable[[ClassNames], tuple[ClassNames, str]]) -> Shown:
    """Store the classes that `change` makes of the present ones, with its note; show them."""
    workspace = common.opened()
    now = classes_file.current_names(workspace)
    edited, note = change(now.classes)
    if edited != now.classes:
        now = classes_file.edit(workspace, edited, note, now.stamp)
    return _shown(common, now)


def _shown(common: PrintOptions, named: NamedClasses) -> Shown:
    document = _document(Summary(common.opened()), named)
    return printed(document) if common.as_json else lambda: class_tables.show_classes(document)


def _document(summary: Summary, named: NamedClasses) -> dict[str, Any]:
    """The classes, as `stego name --json` prints them."""
    counts_as = named.classes.display_table()
    shares = summary.class_margins().shares()
    classes = [
        {"id": number, **asdict(entry), "shown_as": int(counts_as[number]), "share": float(share)}
        for number, (entry, share) in enumerate(zip(named.classes.entries, shares, strict=True))
    ]
    return {
        "clusters": named.clusters_key,
        "revision": named.revision,
        "note": named.note,
        "classes": classes,
    }
