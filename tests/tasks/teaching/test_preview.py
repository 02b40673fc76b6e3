"""Previews: what they say is what `stego teach` makes, and a dense solution in float64."""

from functools import partial

import numpy as np
import pytest
from explored_workspace import CLASSES, compute

from stego_core.errors import InputError, WorkspaceError
from stego_core.labels.class_names import ClassNames, numbered
from stego_core.teaching.propagation import LESSON_NODES, mixed, with_untaught
from tasks.class_names import classes_file
from tasks.engine.stage import Stage
from tasks.masks import kept_features
from tasks.masks.taught_segmenter import read_taught
from tasks.teaching import lessons
from tasks.teaching import stage as taught
from tasks.teaching.preview import Point, Solution, Teaching, renumbered, widened
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

POINTS = [
    Point("first", 0, 5, 5, "roof"),
    Point("first", 2, 60, 60, "lake"),
    Point("first", 4, 30, 12, numbered(2)),
    Point("first", 1, 20, 50, "roof"),
]


def dense(solution: Solution) -> np.ndarray:
    """The minimum of the energy, written out over all pairs of nodes."""
    stored, learned = solution.ground.stored(), solution.learned
    count = len(stored.places)
    weights = np.zeros((count, count))
    for node in range(count):
        for other, weight in zip(*(part[node] for part in stored.graph.near), strict=True):
            weights[node, other] = max(weights[node, other], weight)
            weights[other, node] = max(weights[other, node], weight)
    kept = min(240 / count, 0.1) * weights.sum(axis=1).mean()
    prior = solution.ground.propagation(len(solution.classes.entries)).prior
    clusters = prior.argmax(axis=1).tolist()
    sizes = np.array([clusters.count(cluster) for cluster in clusters])
    held = kept * np.sqrt(count / ((prior.sum(axis=0) > 0).sum() * sizes)).clip(1, 3)
    matrix = np.diag(weights.sum(axis=1) + held) - weights
    wanted = held[:, None] * prior.astype(np.float64)
    assert learned is not None
    for position, cls in zip(*learned, strict=True):
        squared = ((stored.graph.positions - position).astype(np.float64) ** 2).sum(axis=1)
        for node in np.argsort(squared)[:LESSON_NODES]:
            pull = (10 + 4 * kept) * np.exp(-2 * squared[node])
            matrix[node, node] += pull
            wanted[node, cls] += pull
    found = mixed(np.linalg.solve(matrix, wanted), learned, stored.graph.positions)
    return with_untaught(found, prior, np.unique(learned.classes))


def test_a_solution_is_the_dense_one_however_it_is_started(ground_workspace: Workspace) -> None:
    teaching = Teaching(ground_workspace)
    for count in (1, 2, 4):  # each but the first goes on from the one before
        solution = teaching.solution(teaching.lessons_of(POINTS[:count]))
        np.testing.assert_allclose(solution.probabilities, dense(solution), atol=3e-3)
    cold = Teaching(ground_workspace).solution(teaching.lessons_of(POINTS))
    np.testing.assert_allclose(cold.probabilities, solution.probabilities, atol=5e-3)


def test_what_is_shown_is_what_is_taught(ground_workspace: Workspace) -> None:
    teaching = Teaching(ground_workspace)
    shown = teaching.preview(POINTS, ("first", 3))
    lessons.add(ground_workspace.storage, teaching.lessons_of(POINTS), "4 points")
    solution = teaching.solution()
    spec, names = solution.ground.spec, [entry.name for entry in solution.classes.entries]
    stage = taught.plan(ground_workspace, spec, solution.ground.key, solution.patches, names)
    compute(stage, partial(Stage.finish_single))
    model = read_taught(ground_workspace.storage, solution.clusters_key)
    path = layout.image_feature(solution.ground.features_key, "first", image_id(ground_workspace))
    features = kept_features.read(ground_workspace.storage, path).features.astype(np.float32)
    expected = model(features).argmax(axis=-1)
    assert shown.after is not None
    assert (shown.after == expected).mean() > 0.99  # two probabilities may be almost the same
    assert names[CLASSES:] == ["roof", "lake"]


def image_id(workspace: Workspace) -> str:
    (lesson,) = Teaching(workspace).lessons_of([Point("first", 3, 0, 0, "x")])
    return lesson.image_id


def test_changed_patches_are_counted_and_ranked(ground_workspace: Workspace) -> None:
    teaching = Teaching(ground_workspace)
    before, after = (
        teaching.solution(teaching.lessons_of(points)).probabilities.argmax(axis=1)
        for points in ([], POINTS)
    )
    shown = teaching.preview(POINTS, None, examples=5)
    assert shown.changed == np.count_nonzero(before != after) > 10
    assert shown.nodes == len(after) == 6 * 64
    assert (shown.before, shown.after) == (None, None)
    certain, uncertain = ([each.margin for each in part]
                          for part in (shown.certain, shown.uncertain))  # fmt: skip
    assert len(certain) == len(uncertain) == 5
    assert certain == sorted(certain, reverse=True)
    assert uncertain == sorted(uncertain)
    assert uncertain[-1] <= certain[-1]
    for each in (*shown.certain, *shown.uncertain):
        assert each.before != each.after
        assert each.patch.height == each.patch.width == 1 / 8
        assert 0 <= each.patch.y < 1


def test_few_changes_are_shown_once(ground_workspace: Workspace) -> None:
    shown = Teaching(ground_workspace).preview(POINTS, None, examples=10_000)
    places = [(each.row, each.patch) for each in (*shown.certain, *shown.uncertain)]
    assert len(places) == len(set(places)) == shown.changed


def test_without_lessons_the_clusters_are_shown(ground_workspace: Workspace) -> None:
    shown = Teaching(ground_workspace).preview([], ("later", 1))
    assert shown.changed == 0
    assert shown.before is not None
    assert shown.before.shape == (8, 12)
    np.testing.assert_array_equal(shown.before, shown.after)
    assert [entry.name for entry in shown.classes.entries] == [numbered(n) for n in range(CLASSES)]


def test_merged_and_ignored_classes_are_no_change(ground_workspace: Workspace) -> None:
    named = classes_file.current_names(ground_workspace).classes
    classes_file.edit(ground_workspace, named.merged([2], 0).ignoring([3], True), "merged")
    teaching = Teaching(ground_workspace)
    shown = teaching.preview([Point("first", 0, 5, 5, numbered(0))], ("first", 0))
    assert shown.after is not None
    assert set(np.unique(shown.after)) <= {0, 1, 4, 255}
    assert {each.after for each in shown.certain} <= {0, 1, 4, 255}


def test_a_later_point_takes_the_place_of_a_lesson(ground_workspace: Workspace) -> None:
    teaching = Teaching(ground_workspace)
    lessons.add(ground_workspace.storage, teaching.lessons_of(POINTS[:2]), "roof and lake")
    shown = teaching.preview([POINTS[0]._replace(name="field")], ("first", 0))
    names = [entry.name for entry in shown.classes.entries]
    assert names[CLASSES:] == ["lake", "field"]
    assert shown.before is not None
    lake = teaching.solution().nodes() == CLASSES + 1
    assert lake.any()
    before = {each.before for each in (*shown.certain, *shown.uncertain)}
    assert CLASSES + 1 not in before  # lake was 6 and is 5 now; roof is no class any more
    assert 255 in before


def test_ids_of_other_classes() -> None:

    before = ClassNames.create(["0", "1", "roof", "Lake", "sea"])
    after = ClassNames.create(["water", "1", "lake", "field", "roof"])
    table = renumbered(before, after, 2)
    assert table[:6].tolist() == [0, 1, 4, 2, 255, 255]
    assert table[255] == 255


def test_a_start_of_another_width() -> None:
    found = np.array([[0.5, 0.3, 0.2]], np.float32)
    assert widened(found, 2).tolist() == found[:, :2].tolist()
    assert widened(found, 4)[0, 3] == 0


@pytest.mark.parametrize(
    ("point", "sentence"),
    [
        (Point("first", 0, 64, 5, "roof"), "x is 64; image"),
        (Point("first", 0, 5, 99, "roof"), "has 0 to 63"),
        (Point("first", 99, 5, 5, "roof"), "has no image 99"),
        (Point("first", 0, 5, 5, "  "), "the class is ''"),
        (Point("first", 0, 5, 5, "a\nb"), "expected 1 to"),
    ],
)
def test_a_bad_point_is_told(ground_workspace: Workspace, point: Point, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Teaching(ground_workspace).preview([point], None)


def test_what_is_not_prepared_is_told(ground_workspace: Workspace) -> None:
    teaching = Teaching(ground_workspace)
    key = teaching.solution().ground.features_key
    (lesson,) = teaching.lessons_of([Point("first", 0, 0, 0, "x")])
    ground_workspace.storage.remove(layout.image_feature(key, "first", lesson.image_id))
    with pytest.raises(InputError, match="is not prepared for teaching, or cannot be read"):
        Teaching(ground_workspace).preview([], ("first", 0))
    ground_workspace.storage.remove(
        f"{layout.patch_graph(teaching.solution().ground.key)}/manifest.json"
    )
    with pytest.raises(WorkspaceError, match="not prepared for teaching yet"):
        teaching.preview([], None)


def test_only_the_last_solutions_stay(ground_workspace: Workspace) -> None:
    teaching = Teaching(ground_workspace)
    first = teaching.solution()
    assert teaching.solution() is first
    for x in range(6):
        teaching.solution(teaching.lessons_of([Point("first", 0, x, 5, "roof")]))
    assert len(teaching._solutions) == 4
    assert teaching.solution() is not first
