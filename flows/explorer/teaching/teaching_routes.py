"""Teaching, as the page asks for it: points, what they would change, accepted and taken back."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from flows.explorer.answers import Change, Forbidden
from flows.explorer.home.run_request import TEACH, RunRequest
from flows.explorer.parameters import MOST_ROWS, Document, Open, known_dump
from flows.explorer.state import Explorer
from flows.explorer.teaching import teaching_documents as documents
from stego_core.errors import BusyError, InputError, StegoError
from tasks.teaching import lessons

# What is imported inside functions imports torch, which takes seconds: it waits for a teacher.
MOST_POINTS = 400
"""Points of a request at most: as many as fit into what a request may send."""
FORBIDDEN = (
    "nothing is taught here: this server is reached from other machines; start `stego explore` "
    "with --allow-changes, or without --host"
)
Row = Annotated[int, Field(ge=0, le=MOST_ROWS)]
Name = Annotated[str, Field(max_length=1000)]


class SentImage(Change):
    """An image that the page has open."""

    dump: Annotated[str, Field(max_length=100)]
    row: Row


class SentPoint(SentImage):
    """A point of an image, and its class."""

    x: Row
    y: Row
    name: Name


class Points(Change):
    """Points that are not taught yet."""

    points: Annotated[list[SentPoint], Field(max_length=MOST_POINTS)]


class Wanted(Points):
    """What points would change, on the open image too."""

    image: SentImage | None = None


class Answer(Change):
    """What a person says of a patch; without a name the question is skipped."""

    node: Row
    name: Name | None


def _require_editable(explorer: Open) -> None:
    if not explorer.editable:
        raise Forbidden(FORBIDDEN)


router = APIRouter(prefix="/teach", dependencies=[Depends(_require_editable)])


@router.get("")
def state(explorer: Open) -> Document:
    """What was taught, whether the masks show it, and how far the preparation is."""
    return documents.state(explorer)


@router.post("/prepare")
def prepare(explorer: Open) -> Document:
    """Make what teaching needs, in the background."""
    explorer.preparing.start()
    return documents.state(explorer)


@router.post("/preview")
def preview(explorer: Open, sent: Wanted) -> Document:
    """What points would change."""
    image = None
    if sent.image is not None:
        image = known_dump(explorer.workspace, sent.image.dump), sent.image.row
    shown = explorer.teaching.preview(_points(explorer, sent.points), image)
    return documents.preview(explorer.workspace, shown)


@router.post("/accept")
def accept(explorer: Open, sent: Points) -> Document:
    """Store points as lessons, and label the dumps anew."""
    if not sent.points:
        raise InputError("there is no point to teach; click some pixels first")
    found = explorer.teaching.lessons_of(_points(explorer, sent.points))
    names = ", ".join(dict.fromkeys(lesson.name for lesson in found))
    count = f"{len(found)} point{'s' * (len(found) > 1)}"
    stored = lessons.add(explorer.workspace.storage, found, f"{count}: {names}"[:200])
    return {"stored": stored.note, **_learn(explorer)}


@router.post("/undo")
def undo(explorer: Open) -> Document:
    """Take back what was taught last; the dumps are labelled anew if their masks show it."""
    shown = documents.is_learned(explorer)
    note = lessons.undo(explorer.workspace.storage).note.removeprefix("undo: ")
    begun = _learn(explorer) if shown else {"started": False, "sentence": ""}
    return {"undone": note, **begun}


@router.post("/learn")
def learn(explorer: Open) -> Document:
    """Label the dumps anew, by all lessons that count."""
    return _learn(explorer)


@router.post("/question")
def question(explorer: Open) -> Document:
    """The question whose answer is expected to change most."""
    return documents.asked(explorer, explorer.questions.next())


@router.post("/answer")
def answer(explorer: Open, sent: Answer) -> Document:
    """Take an answer as a lesson, and ask again."""
    answered = explorer.questions.answer(sent.node, sent.name)
    return {**answered._asdict(), **documents.asked(explorer, explorer.questions.next())}


def _points(explorer: Explorer, sent: Sequence[SentPoint]) -> list[Any]:
    from tasks.teaching.preview import Point

    for dump in {point.dump for point in sent}:
        known_dump(explorer.workspace, dump)
    return [Point(**point.model_dump()) for point in sent]


def _learn(explorer: Explorer) -> Document:
    """Start a run; whether that went well, and else why: the lessons are stored all the same."""
    try:
        explorer.running.start(RunRequest(kind=TEACH))
    except BusyError as error:
        return {"started": False, "sentence": f"stored, not shown yet: {error}"}
    except StegoError as error:
        return {"started": False, "sentence": f"stored, but masks cannot be made: {error}"}
    return {"started": True, "sentence": ""}
