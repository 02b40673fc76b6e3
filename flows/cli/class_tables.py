"""What the terminal shows of classes, and of the images to look at first."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from flows.reporting.console import results, say, table
from stego_core.labels.class_names import Proposal
from tasks.class_names.classes_file import NamedClasses
from tasks.masks.confidence_table import UncertainImage


def show_doubtful(found: Sequence[UncertainImage]) -> None:
    """The images to look at first, in percent."""
    title = "least certain images first, percent"
    rows = table(title, ("dump", "image"), ("doubt", "mean margin", "doubtful pixels"))
    for each in found:
        margin, share = (f"{100 * value:.1f}" for value in (each.margin, each.doubtful))
        doubt = f"{100 * each.doubt:.2f}"  # mostly a few percent and less
        rows.add_row(Text(each.dump), Text(each.path, overflow="fold"), doubt, margin, share)
    results.print(rows)


def show_classes(document: dict[str, Any]) -> None:
    """The classes as they are named now."""
    title = f"classes, revision {document['revision']}: {document['note']}"
    rows = table(title, ("id", "name", "colour", "counts as"), ("pixels, %",))
    names = {each["id"]: each["name"] for each in document["classes"]}
    for each in document["classes"]:
        kept = each["shown_as"] == each["id"]
        counts_as = "" if kept else names.get(each["shown_as"], "ignored")
        colour = Text("██ ", style=each["colour"]).append(each["colour"], style="default")
        share = f"{100 * each['share']:.1f}"
        name = Text(each["name"], style="" if kept else "dim")
        rows.add_row(str(each["id"]), name, colour, Text(counts_as), share)
    results.print(rows)


def show_proposals(found: Sequence[Proposal], least: float) -> None:
    """Names that labels suggest."""
    title = f"proposed names; --accept takes those of at least {100 * least:.0f} %"
    rows = table(title, ("cluster", "name"), ("support, %", "labelled pixels"))
    for each in found:
        style = "" if each.name and each.support >= least else "dim"
        name = Text(each.name or "no labelled pixel", style=style)
        support = f"{100 * each.support:.0f}" if each.name else ""
        rows.add_row(str(each.cluster), name, support, f"{each.pixels:,}")
    results.print(rows)


def show_history(revisions: Sequence[NamedClasses]) -> None:
    """Every revision of the classes, oldest first."""
    if not revisions:
        say("the classes were never edited")
    for each in revisions:
        results.print(Text(f"{each.revision:>4}  {each.note}"))
