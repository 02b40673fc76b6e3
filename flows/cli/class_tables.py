"""What the terminal shows of classes, and of the images to look at first."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from flows.reporting.console import results, say, table
from stego_core.labels.class_names import ClassNames, Proposal
from tasks.class_names.classes_file import NamedClasses
from tasks.class_names.merge_suggestions import Suggestion
from tasks.masks.confidence_table import UncertainImage


def show_uncertain(images: Sequence[UncertainImage]) -> None:
    """The images to look at first, in percent."""
    title = "least certain images first, percent"
    rows = table(title, ("dump", "image"), ("uncertainty", "mean margin", "uncertain pixels"))
    for image in images:
        margin, share = (f"{100 * value:.1f}" for value in (image.margin, image.doubtful))
        uncertainty = f"{100 * image.doubt:.2f}"  # mostly a few percent and less
        path = Text(image.path, overflow="fold")
        rows.add_row(Text(image.dump), path, uncertainty, margin, share)
    results.print(rows)


def show_classes(document: dict[str, Any]) -> None:
    """The classes as they are named now."""
    title = f"classes, revision {document['revision']}: {document['note']}"
    rows = table(title, ("id", "name", "colour", "counts as"), ("pixels, %",))
    names = {entry["id"]: entry["name"] for entry in document["classes"]}
    for entry in document["classes"]:
        itself = entry["shown_as"] == entry["id"]
        counts_as = "" if itself else names.get(entry["shown_as"], "ignored")
        colour = Text("██ ", style=entry["colour"]).append(entry["colour"], style="default")
        name = Text(entry["name"], style="" if itself else "dim")
        share = f"{100 * entry['share']:.1f}"
        rows.add_row(str(entry["id"]), name, colour, Text(counts_as), share)
    results.print(rows)


def show_suggestion(suggestion: Suggestion, classes: ClassNames) -> None:
    """Groups of classes that could be merged, each in its own colours."""
    most, (suggested, why) = len(suggestion.hierarchy.ids), suggestion.suggested
    count = len(suggestion.groups)
    title = f"{most} classes in {count} groups; `stego name merge-suggested` merges them"
    rows = table(title, ("would count as", "classes"), ("pixels, %",))
    shares = dict(zip(suggestion.hierarchy.ids, suggestion.hierarchy.areas, strict=True))
    for into, ids in suggestion.groups:
        members = Text(", ").join(_named(number, classes) for number in (into, *ids))
        share = 100 * sum(shares[number] for number in (into, *ids))
        rows.add_row(_named(into, classes), members if ids else Text(""), f"{share:.1f}")
    results.print(rows)
    say(f"{suggested} groups are suggested: {why}; --groups N makes N")


def _named(number: int, classes: ClassNames) -> Text:
    entry = classes.entries[number]
    return Text("█ ", style=entry.colour).append(f"{number} {entry.name}", style="default")


def show_proposals(proposals: Sequence[Proposal], least: float) -> None:
    """Names that labels suggest."""
    title = f"proposed names; --accept takes those of at least {100 * least:.0f} %"
    rows = table(title, ("cluster", "name"), ("support, %", "labelled pixels"))
    for proposal in proposals:
        style = "" if proposal.name and proposal.support >= least else "dim"
        name = Text(proposal.name or "no labelled pixel", style=style)
        support = f"{100 * proposal.support:.0f}" if proposal.name else ""
        rows.add_row(str(proposal.cluster), name, support, f"{proposal.pixels:,}")
    results.print(rows)


def show_history(revisions: Sequence[NamedClasses]) -> None:
    """Every revision of the classes, oldest first."""
    if not revisions:
        say("the classes were never edited")
    for revision in revisions:
        results.print(Text(f"{revision.revision:>4}  {revision.note}"))
