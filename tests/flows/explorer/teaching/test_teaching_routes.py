"""Teaching's routes: points are previewed, accepted and taken back; what is wrong is told."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from home_client import Script
from teaching_client import TaughtPage, point, written_elsewhere

from flows.explorer.teaching.teaching_documents import agreement
from tasks.teaching import lessons
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]
POINTS = [point(5, 5, "roof"), point(100, 80, "lake", row=2)]
DONE = {"end": 0, "sentence": ""}


def stored(page: TaughtPage) -> list[str]:
    return [lesson.name for lesson in lessons.in_force(page.explorer.workspace.storage)]


def test_a_preview_is_of_the_open_image_and_of_all(taught_page: TaughtPage) -> None:
    sent = {"points": POINTS, "image": {"dump": "train", "row": 0}}
    shown = taught_page.post("preview", **sent).json()
    ids = np.frombuffer(base64.b64decode(shown["image"]["after"]), np.uint8)
    assert len(ids) == shown["image"]["height"] * shown["image"]["width"]
    by_name = {each["name"]: each["id"] for each in shown["classes"]}
    assert ids[0] == by_name["roof"]
    assert by_name["lake"] == by_name["roof"] + 1
    assert 0 < shown["changed"] < shown["nodes"]
    assert 0 < len(shown["uncertain"]) <= len(shown["certain"]) <= 24
    for item in shown["certain"]:
        assert {"dump", "row", "path", "patch", "before", "after", "margin"} <= set(item)
    assert stored(taught_page) == []
    assert taught_page.state()["lessons"] == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"points": [point(5, 999, "roof")]}, "y is 999"),
        ({"points": [point(5, 5, " ")]}, "the class is"),
        ({"points": [point(5, 5, "roof", row=99)]}, "has no image 99"),
        ({"points": [{**POINTS[0], "dump": "nowhere"}]}, "there is no dump 'nowhere'"),
        ({"points": [{**POINTS[0], "x": "5"}]}, "points.0.x"),
        ({"points": [{**POINTS[0], "more": 1}]}, "points.0.more"),
        ({"points": [POINTS[0]] * 401}, "points"),
        ({}, "points"),
    ],
)
def test_what_is_wrong_is_told(
    taught_page: TaughtPage, body: dict[str, Any], sentence: str
) -> None:
    for what in ("preview", "accept"):
        answer = taught_page.post(what, **body)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]
    assert stored(taught_page) == []


def test_what_is_not_there_cannot_be_taught(taught_page: TaughtPage) -> None:
    answer = taught_page.post("accept", points=[])
    assert (answer.status_code, "click some pixels" in answer.json()["error"]) == (400, True)
    answer = taught_page.post("undo")
    assert (answer.status_code, "teach some first" in answer.json()["error"]) == (409, True)


def test_accepted_points_are_stored_and_a_run_begins(
    taught_page: TaughtPage, script: Script, tmp_path: Path
) -> None:
    script(f"open({str(tmp_path / 'order.json')!r}, 'w').write(json.dumps(order))", DONE)
    answer = taught_page.post("accept", points=POINTS).json()
    assert answer == {"stored": "2 points: roof, lake", "started": True, "sentence": ""}
    assert stored(taught_page) == ["roof", "lake"]
    ended(taught_page)
    order = json.loads((tmp_path / "order.json").read_text())
    assert (order["kind"], order["dump"]) == ("teach", "")
    told = taught_page.state()
    assert (told["lessons"], told["last"]) == (2, "2 points: roof, lake")
    assert told["usable"]
    assert not told["learned"]  # the process in the place of the run made nothing


def ended(page: TaughtPage) -> None:
    assert page.explorer.running.job.thread is not None
    page.explorer.running.job.thread.join(60)
    assert page.explorer.running.job.run.state == "done"


def test_undo_takes_back_what_was_taught_last(taught_page: TaughtPage, script: Script) -> None:
    script(DONE)
    taught_page.post("accept", points=POINTS[:1])
    ended(taught_page)
    taught_page.post("accept", points=POINTS[1:])
    ended(taught_page)
    answer = taught_page.post("undo").json()
    # No mask shows the lesson yet, so none has to be made anew.
    assert answer == {"undone": "1 point: lake", "started": False, "sentence": ""}
    assert stored(taught_page) == ["roof"]
    assert taught_page.post("learn").json()["started"]
    ended(taught_page)


def test_lessons_are_kept_while_a_run_goes_on(taught_page: TaughtPage) -> None:
    with written_elsewhere(taught_page.explorer.workspace):
        answer = taught_page.post("accept", points=POINTS).json()
    assert answer["stored"] == "2 points: roof, lake"
    assert not answer["started"]
    assert answer["sentence"].startswith("stored, not shown yet: ")
    assert "is being written by" in answer["sentence"]
    assert stored(taught_page) == ["roof", "lake"]


def test_two_people_lose_nothing(taught_page: TaughtPage, script: Script) -> None:
    other = TaughtPage(taught_page.explorer.workspace)
    script("sys.stdin.read()", DONE)
    assert taught_page.post("accept", points=POINTS[:1]).json()["started"]
    assert other.post("accept", points=POINTS[1:]).json()["stored"] == "1 point: lake"
    assert sorted(stored(taught_page)) == ["lake", "roof"]
    assert taught_page.state()["lessons"] == other.state()["lessons"] == 2
    for page in (taught_page, other):
        page.explorer.running.close()


def test_where_changes_are_forbidden_nothing_is_taught(own: Workspace) -> None:
    page = TaughtPage(own, editable=False)
    for what in ("preview", "accept", "undo", "learn", "prepare"):
        answer = page.post(what, points=POINTS)
        assert answer.status_code == 403
        assert "nothing is taught here" in answer.json()["error"]
    assert page.client.get("/api/teach").status_code == 403


def test_unprepared_images_are_told(own: Workspace) -> None:
    page = TaughtPage(own)
    told = page.state()
    assert (told["usable"], told["prepared"]["state"], told["learned"]) == (False, "none", True)
    answer = page.post("preview", points=POINTS)
    assert answer.status_code == 409
    assert "not prepared for teaching yet" in answer.json()["error"]


def test_questions_are_asked_and_answered(taught_page: TaughtPage) -> None:
    first = taught_page.post("question").json()
    assert first["agreement"] is None
    question = first["question"]
    assert {"dump", "row", "path", "node", "patch", "x", "y", "name", "cls"} <= set(question)
    region = np.frombuffer(base64.b64decode(question["region"]["values"]), np.uint8)
    assert 0 < region.sum() <= question["region"]["height"] * question["region"]["width"]
    agreed = taught_page.post("answer", node=question["node"], name=question["name"]).json()
    assert agreed["agreement"] == {"answers": 1, "agreed": 1}
    assert 0 <= agreed["changed"] <= agreed["nodes"]
    node = agreed["question"]["node"]
    other = taught_page.post("answer", node=node, name="lake").json()
    assert other["agreement"] == {"answers": 2, "agreed": 1}
    skipped = taught_page.post("answer", node=other["question"]["node"], name=None).json()
    assert skipped["agreement"] == other["agreement"]
    assert skipped["question"]["node"] not in (question["node"], node, other["question"]["node"])
    assert stored(taught_page) == [question["name"], "lake"]
    told = taught_page.state()
    assert (told["learned"], told["lessons"], told["last"]) == (False, 2, "answer: lake")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"node": 1},
        {"node": -1, "name": "a"},
        {"node": 10**6, "name": "a"},
        {"node": 1, "name": ""},
    ],
)
def test_a_bad_answer_is_told(taught_page: TaughtPage, body: dict[str, Any]) -> None:
    answer = taught_page.post("answer", **body)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10
    assert stored(taught_page) == []


def test_agreement_is_of_the_last_answers() -> None:
    def answer(number: int, name: str) -> lessons.LessonFile:
        lesson = lessons.Lesson("train", "a", number, 0, name, "c")
        return lessons.LessonFile(str(number), "", (lesson,), predicted="Road")

    files = [answer(n, "sky" if n < 10 else "road") for n in range(25)]
    taught = lessons.LessonFile("x", "3 points", files[0].lessons)
    assert agreement([*files, taught]) == {"answers": 20, "agreed": 15}
    assert agreement([taught]) is None
