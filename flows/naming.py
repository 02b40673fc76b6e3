"""`stego name`: what people call the clusters, edited and shown."""

from dataclasses import dataclass, field
from typing import Any

from stego_core.classes import Classes, Proposal, accepted
from stego_core.errors import OptionError
from tasks import classes as stored
from tasks.classes import Named
from tasks.log import Log
from tasks.options import CorpusOptions
from tasks.proposals import from_labelled, from_previous, from_scores
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)
SUPPORT = 0.5
"""Share of a cluster's labelled pixels that must have a name for it to be taken."""


@dataclass(frozen=True)
class Edit:
    """One call of `stego name`: at most one kind of edit.

    Attributes:
        which: ids or names of classes, separated by commas; None edits none.
        name: new name of the one class.
        colour: new colour of the one class.
        into: class that they are merged into.
        split: take merged ones apart again.
        ignore: whether their pixels belong to no class; None leaves that as it is.
        undo: go back to before the last edit.
    """

    which: str | None = None
    name: str | None = None
    colour: str | None = None
    into: str | None = None
    split: bool = False
    ignore: bool | None = None
    undo: bool = False

    def checked(self) -> "Edit":
        """Itself, if it says one thing.

        Raises:
            OptionError: it says several, or of no class.
        """
        kinds = {
            "a name or --colour": self.name is not None or self.colour is not None,
            "--into": self.into is not None,
            "--split": self.split,
            "--ignore": self.ignore is not None,
            "--undo": self.undo,
        }
        asked = [kind for kind, given in kinds.items() if given]
        if len(asked) > 1:
            raise OptionError(f"{' and '.join(asked)} are edits of their own; give one at a time")
        if self.undo and self.which:
            raise OptionError("--undo takes back the last edit, whatever it was; give no class")
        if asked and not self.undo and not self.which:
            raise OptionError(f"{asked[0]} needs a class; give its id or name first")
        if self.which and not asked:
            raise OptionError(
                f"what shall become of class {self.which}? give a name, --colour, --into, --split "
                "or --ignore"
            )
        return self

    def apply(self, classes: Classes) -> tuple[Classes, str]:
        """The classes edited, and what was done, in a sentence.

        Raises:
            OptionError: there is no such class, or the outcome makes no sense.
        """
        numbers = [classes.find(part) for part in (self.which or "").split(",")]
        told = ", ".join(f"{number} {classes.entries[number].name}" for number in numbers)
        if self.into is not None:
            target = classes.find(self.into)
            done = f"{told} merged into {target} {classes.entries[target].name}"
            return classes.merged(numbers, target), done
        if self.split:
            return classes.merged(numbers, None), f"{told} taken apart"
        if self.ignore is not None:
            done = f"{told} {'ignored' if self.ignore else 'not ignored any more'}"
            return classes.ignoring(numbers, self.ignore), done
        if len(numbers) > 1:
            raise OptionError(f"{told} cannot have one name or colour; merge them with --into")
        done = ", ".join(
            f"{told} {what} {value}"
            for what, value in (("named", self.name), ("coloured", self.colour))
            if value is not None
        )
        return classes.edited(numbers[0], self.name, self.colour), done


def edited(workspace: str, edit: Edit) -> Named:
    """The classes after an edit; as they are where none is asked for.

    Raises:
        OptionError: the edit makes no sense.
        WorkspaceError: there are no clusters, or somebody else edited at the same time.
    """
    place = Workspace.open(workspace)
    edit = edit.checked()
    if edit.undo:
        return stored.undo(place)
    now = stored.current(place)
    if not edit.which:
        return now
    classes, note = edit.apply(now.classes)
    return now if classes == now.classes else stored.edit(place, classes, note, now.stamp)


@dataclass(frozen=True)
class Proposals:
    """Names for the clusters, and colours for names that had one.

    Attributes:
        found: one per cluster.
        colours: by name.
    """

    found: list[Proposal]
    colours: dict[str, str] = field(default_factory=dict)


def proposed(
    workspace: str, images: str | None, labels: str | None, taxonomy: str | None, device: str
) -> Proposals:
    """A name for each cluster, from a few labelled images or, without them, the dumps' labels."""
    if images is None:
        return Proposals(from_scores(Summary(Workspace.open(workspace)), taxonomy))
    from flows.api import open_workspace  # torch takes seconds

    corpus = CorpusOptions(images=images, labels=labels, taxonomy=taxonomy)
    opened = open_workspace(workspace, device)
    clusters = len(opened.segmenter.centroids)
    found, unusable = from_labelled(corpus, opened.read, opened.clusters, clusters)
    for reason in unusable:
        log.warning("image left out", reason=reason)
    return Proposals(found)


def from_before(workspace: str) -> Proposals:
    """The names and colours that classes had before a retraining."""
    return Proposals(*from_previous(Summary(Workspace.open(workspace))))


def accept(workspace: str, proposals: Proposals, support: float) -> Named:
    """Give the clusters their proposed names, merging those of one name.

    Raises:
        WorkspaceError: somebody else edited at the same time.
    """
    place = Workspace.open(workspace)
    now = stored.current(place)
    classes = accepted(now.classes, proposals.found, support, proposals.colours)
    note = "names from before" if proposals.colours else "names from labels"
    return now if classes == now.classes else stored.edit(place, classes, note, now.stamp)


def revisions(workspace: str) -> list[Named]:
    """Every revision of the classes, oldest first."""
    return stored.history(Workspace.open(workspace))


def document(workspace: str, named: Named) -> dict[str, Any]:
    """The classes, as `stego name --json` prints them."""
    shown = named.classes.shown()
    of_pixels = Summary(Workspace.open(workspace)).sure().shares()
    return {
        "clusters": named.clusters_key,
        "revision": named.revision,
        "note": named.note,
        "classes": [
            {
                "id": number,
                "name": entry.name,
                "colour": entry.colour,
                "merged_into": entry.merged_into,
                "ignored": entry.ignored,
                "shown_as": int(shown[number]),
                "share": float(of_pixels[number]),
            }
            for number, entry in enumerate(named.classes.entries)
        ],
    }
