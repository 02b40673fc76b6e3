"""Questions to people: answers are lessons, no neighbourhood comes twice, what changed is told."""

import numpy as np
import pytest
from explored_workspace import CLASSES

from stego_core.errors import InputError
from stego_core.labels.class_names import numbered
from stego_core.teaching.questions import joined_to
from tasks.class_names import classes_file
from tasks.teaching import lessons
from tasks.teaching.preview import Point, Teaching, place_of
from tasks.teaching.questions import Questions, shown_probabilities
from tasks.workspace.workspace import Workspace


@pytest.fixture
def asking(ground_workspace: Workspace) -> Questions:
    teaching = Teaching(ground_workspace)
    lessons.add(
        ground_workspace.storage, teaching.lessons_of([Point("first", 0, 5, 5, "roof")]), "roof"
    )
    return Questions(teaching)


def test_a_question_is_a_region_of_the_class_that_is_shown(asking: Questions) -> None:
    question = asking.next()
    assert question is not None
    solution = asking.teaching.solution()
    assert place_of(solution.ground, question.node) == (
        question.dump, question.row, question.patch,
    )  # fmt: skip
    ids = solution.image(question.dump, question.row)
    patch = question.y * 8 // 64, question.x * 8 // 64  # 64 pixels, 8 patches
    assert question.region[patch]
    assert ids[patch] == question.cls
    assert (ids[question.region] == question.cls).all()
    assert question.name == question.classes.entries[question.cls].name
    assert question.expected > 0


def test_an_answer_is_a_lesson_and_its_changes_are_counted(asking: Questions) -> None:
    question = asking.next()
    assert question is not None
    before = asking.teaching.solution().nodes()
    answered = asking.answer(question.node, " lake ")
    after = asking.teaching.solution()
    assert answered.nodes == len(before) == 6 * 64
    assert answered.changed == np.count_nonzero(before != after.nodes()) > 0
    last = asking.teaching.files()[-1]
    assert (last.note, last.predicted) == ("answer: lake", question.name)
    (lesson,) = last.lessons
    assert (lesson.x, lesson.y, lesson.name) == (question.x, question.y, "lake")
    assert after.nodes()[question.node] == CLASSES + 1


def test_no_neighbourhood_comes_twice_until_none_is_left(asking: Questions) -> None:
    spreading = asking.teaching.solution().ground.propagation(CLASSES + 1)
    seen = np.zeros(6 * 64, np.bool_)
    count = 0
    while (question := asking.next()) is not None:
        assert not seen[question.node]
        seen |= joined_to(spreading.smooth, np.array([question.node]))
        asking.answer(question.node, None if count % 2 else question.name)
        count += 1
    assert count > 10
    near = spreading.graph.nearest_nodes(asking.teaching.solution().learned.positions, 1)  # type: ignore[union-attr]
    seen |= joined_to(spreading.smooth, near.nodes.ravel())
    assert seen.all()


def test_a_skipped_question_teaches_nothing(asking: Questions) -> None:
    question = asking.next()
    assert question is not None
    assert asking.answer(question.node, None).changed == 0
    assert len(asking.teaching.in_force()) == 1
    following = asking.next()
    assert following is not None
    assert following.node != question.node


def test_what_cannot_be_an_answer_is_told(asking: Questions) -> None:
    with pytest.raises(InputError, match="there is no patch 384; they are 0 to 383"):
        asking.answer(384, "roof")
    with pytest.raises(InputError, match="the class is ''"):
        asking.answer(3, " ")
    assert len(asking.teaching.in_force()) == 1


def test_merged_classes_are_one_and_ignored_ones_are_not_asked(
    ground_workspace: Workspace,
) -> None:
    named = classes_file.current_names(ground_workspace).classes
    changed = named.merged([2], 0).ignoring([3, 1], True)
    classes_file.edit(ground_workspace, changed, "merged")
    asking = Questions(Teaching(ground_workspace))
    solution = asking.teaching.solution()
    shown = shown_probabilities(solution)
    together = solution.probabilities[:, [0, 2]].sum(axis=1)
    assert shown.shape[1] == 3  # 0 with 2, 4, and what is ignored
    np.testing.assert_allclose(shown[:, 0], together, atol=1e-6)
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-5)
    for _ in range(5):
        question = asking.next()
        assert question is not None
        assert question.name in (numbered(0), numbered(4))
        asking.answer(question.node, None)
