"""The command `stego teach`: learn points and corrected masks, and label the dumps anew."""

from typing import Any

from flows.cli.flags import Dumps, Flag, Shown, Working, command, listed
from flows.reporting import console, temporary_server
from stego_core.errors import OptionError
from tasks.report import status
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


@command()
def teach(
    points: str | None = None,
    /,
    *,
    common: Working,
    masks: str | None = None,
    taxonomy: str | None = None,
    dumps: Dumps = None,
    undo: Flag = False,
) -> Shown:
    """Learn which class some pixels show, and label the dumps anew.

    Args:
        points: CSV file with the columns image (as listed), x, y (pixels from the top left of the
            upright image) and class (a name, new or known); without it, all lessons that are there
            are learned again, which names that changed since may alter.
        masks: Folder or URI of corrected masks or label images, each called as its image; or a file
            that CVAT (XML) or Label Studio (JSON) exported, or a COCO file. Where they differ from
            the current masks, they are learned.
        taxonomy: JSON file of what the values of --masks mean; default: the ids or the colours of
            the workspace's classes, as exported masks have them.
        undo: Take back what was taught last.
    """
    if undo and (points or masks):
        raise OptionError("give either something to learn or --undo")
    if taxonomy and not masks:
        raise OptionError("--taxonomy says what the values of --masks mean; give those, too")
    with temporary_server.beside():
        from flows.runs.teaching.teach import MasksGiven
        from flows.runs.teaching.teach import teach as teach_flow

    given = MasksGiven(masks=masks, taxonomy=taxonomy) if masks else None
    outcome = teach_flow(
        common.workspace, points, given, undo, listed(dumps), common.compute, common.storage
    )
    return lambda: show_taught(common.workspace, outcome)


def show_taught(workspace: str, outcome: dict[str, Any]) -> None:
    """Print what was learned, and what it changed."""
    for kind, problems in (
        ("rows or masks", outcome["problems"]),
        ("lessons", outcome["unlearned"]),
    ):
        if problems:
            console.say(f"warning: {len(problems)} {kind} left out; the first: {problems[0]}")
    from flows.runs.teaching.teach import outcome_sentence

    console.say(outcome_sentence(outcome))
    console.show_scores(status.document(Summary(Workspace.open(workspace))))
    console.line(f"report: {outcome['report']}")
