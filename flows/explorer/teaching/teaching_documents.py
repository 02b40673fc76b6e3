"""What the page is sent of lessons, of their previews, and of questions."""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.explorer.parameters import Document, described
from flows.explorer.state import Explorer
from stego_core.errors import StegoError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.teaching import lessons
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds
    from tasks.teaching.preview import ChangedPatch, Preview
    from tasks.teaching.questions import Question

RECENT = 20
"""Answers of which it is told how many agreed."""


def state(explorer: Explorer) -> Document:
    """What was taught.

    Returns:
        `prepared`: how far the preparation is; `usable`: whether points can be previewed;
        `lessons`: how many count; `last`: the note of what was taught last, or None;
        `learned`: whether the masks show all of them; `agreement`: as `agreement`.
    """
    from tasks.teaching.ground import is_prepared

    files = lessons.counting(explorer.teaching.files())
    return {
        "prepared": explorer.preparing.document(),
        "usable": is_prepared(explorer.workspace),
        "lessons": len(lessons.in_force_of(files)),
        "last": files[-1].note if files else None,
        "learned": is_learned(explorer),
        "agreement": agreement(files),
    }


def is_learned(explorer: Explorer) -> bool:
    """Whether the masks show all lessons that count, as far as that is known."""
    try:
        current = explorer.workspace.last_run()["keys"]["clusters"]
        return bool(explorer.teaching.solution().clusters_key == current)
    except StegoError:  # not prepared: nothing can be told, and every run learns all lessons
        return not explorer.teaching.in_force()


def agreement(files: Sequence[lessons.LessonFile]) -> Document | None:
    """Of the last answers to questions, how many said what was shown before; None without any."""
    answers = [file for file in files if file.predicted][-RECENT:]
    if not answers:
        return None
    agreed = sum(file.lessons[0].name.casefold() == file.predicted.casefold() for file in answers)
    return {"answers": len(answers), "agreed": agreed}


def asked(explorer: Explorer, question: "Question | None") -> Document:
    """A question.

    Returns:
        `question`: None, or an image as `described`, `node`, `patch`, `x`, `y`, `name` and `cls`,
        `expected`, `classes`, and `region`: `height`, `width`, `values`, base64 of 0 or 1;
        `agreement`: as `agreement`.
    """
    agreed = agreement(lessons.counting(explorer.teaching.files()))
    if question is None:
        return {"question": None, "agreement": agreed}
    (image,) = described(explorer.workspace, [(question.dump, question.row)])
    height, width = question.region.shape
    names = ("node", "x", "y", "cls", "name", "expected")
    document = {
        **image,
        **{name: getattr(question, name) for name in names},
        "patch": question.patch._asdict(),
        "classes": classes(question.classes),
        "region": {"height": height, "width": width, "values": packed(question.region)},
    }
    return {"question": document, "agreement": agreed}


def preview(workspace: Workspace, shown: "Preview") -> Document:
    """A preview.

    Returns:
        `classes`: of each `id`, `name`, `colour`, `shown`; `changed`, `nodes`: sampled patches;
        `certain`, `uncertain`: items; `image`: None or `height`, `width`, and `before` and
        `after`, base64 of ids; `problems`.
    """
    image = None
    if shown.before is not None and shown.after is not None:
        height, width = shown.after.shape
        ids = {"before": packed(shown.before), "after": packed(shown.after)}
        image = {"height": height, "width": width, **ids}
    return {
        "classes": classes(shown.classes),
        "changed": shown.changed,
        "nodes": shown.nodes,
        "certain": _items(workspace, shown.certain),
        "uncertain": _items(workspace, shown.uncertain),
        "image": image,
        "problems": shown.problems,
    }


def classes(names: ClassNames) -> list[Document]:
    """Classes as the page has them."""
    table = names.display_table().tolist()
    return [
        {
            "id": number,
            **asdict(entry),
            "shown": None if table[number] == VOID_BYTE else table[number],
        }
        for number, entry in enumerate(names.entries)
    ]


def packed(ids: NDArray[Any]) -> str:
    """Ids in reading order, as base64 of bytes."""
    return base64.b64encode(np.ascontiguousarray(ids, np.uint8).tobytes()).decode()


def _items(workspace: Workspace, changed: Sequence["ChangedPatch"]) -> list[dict[str, Any]]:
    images = described(workspace, [(each.dump, each.row) for each in changed])
    return [
        {
            **image,
            "patch": each.patch._asdict(),
            "before": each.before,
            "after": each.after,
            "margin": each.margin,
        }
        for image, each in zip(images, changed, strict=True)
    ]
