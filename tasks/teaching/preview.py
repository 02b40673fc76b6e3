"""What points that nobody has taught yet would change: on one image, and on all sampled patches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from stego_core.search.patch_map import Patch
from stego_core.teaching.propagation import Lessons
from stego_core.teaching.questions import margins_of
from tasks.corpus.index import IndexReader
from tasks.teaching import graph, lessons
from tasks.teaching.graph import Place
from tasks.teaching.ground import Ground, Ids, ground_of, spec_of
from tasks.teaching.lesson_patches import TaughtPatch, found_patches, taught_key
from tasks.teaching.lessons import Lesson, LessonFile
from tasks.teaching.taught_names import Curriculum, curriculum
from tasks.workspace.workspace import Workspace

EXAMPLES = 24
"""Changed patches that are shown of each kind: those that are most certain, and least."""
SOLUTIONS = 4
"""Solutions in memory, each of a few MB."""


class Point(NamedTuple):
    """A pixel of an image, from the top left as displayed, and the name of its class."""

    dump: str
    row: int
    x: int
    y: int
    name: str


class Solution(NamedTuple):
    """What lessons make of the graph.

    Attributes:
        patches: the lessons as the model takes them.
        learned: as they are spread; None where there are none.
        probabilities: (n, K) float32 of the nodes.
        classes: the clusters, then the classes that lessons add.
        problems: why some lessons cannot be learned.
    """

    ground: Ground
    patches: list[TaughtPatch]
    learned: Lessons | None
    probabilities: NDArray[np.float32]
    classes: ClassNames
    problems: list[str]

    @property
    def clusters_key(self) -> str:
        """Key of the clusters that `stego teach` makes of these lessons."""
        if not self.patches:
            return self.ground.spec.clusters_key
        names = [entry.name for entry in self.classes.entries]
        spec = self.ground.spec
        return taught_key(spec, self.ground.key, self.patches, names[spec.classes :])

    def nodes(self) -> Ids:
        """(n,) the class that each node is shown as, 255 where ignored."""
        return np.asarray(self.classes.display_table()[self.probabilities.argmax(axis=1)])

    def image(self, dump: str, row: int) -> Ids:
        """(h, w) the same of the patches of an image."""
        seen = self.ground.image(dump, row)
        ids = seen.ids(None if self.learned is None else self.probabilities)
        return np.asarray(self.classes.display_table()[ids])

    def margins(self) -> NDArray[np.float32]:
        """(n,) how much more probable the best class of each node is than the second, 0 to 1."""
        return margins_of(self.probabilities)


class ChangedPatch(NamedTuple):
    """A sampled patch that would have another class.

    Attributes:
        patch: where it lies, in shares of its image.
        before, after: class ids among the preview's classes, 255 for none.
        margin: between the two most probable classes afterwards, 0 to 1.
    """

    dump: str
    row: int
    patch: Patch
    before: int
    after: int
    margin: float


@dataclass(frozen=True)
class Preview:
    """What points would change.

    Attributes:
        classes: that ids are of.
        changed, nodes: sampled patches of another class, and all of them.
        certain, uncertain: changed patches, the most certain first, and the least certain first.
        before, after: class ids (h, w) of the open image's patches; None without one.
        problems: why some lessons cannot be learned.
    """

    classes: ClassNames
    changed: int
    nodes: int
    certain: list[ChangedPatch]
    uncertain: list[ChangedPatch]
    before: Ids | None = None
    after: Ids | None = None
    problems: list[str] = field(default_factory=list)


class Teaching:
    """Lessons of a workspace and what they make of it, with the last solutions in memory.

    The next one starts from the last: lessons change little of it.
    """

    def __init__(self, workspace: Workspace) -> None:
        """Of a workspace, which need not be there yet."""
        self.workspace = workspace
        self._lock = RLock()
        self._solutions: dict[tuple[Ground, tuple[Lesson, ...], str], Solution] = {}
        self._files: dict[str, LessonFile] = {}

    def files(self) -> list[LessonFile]:
        """Every file of lessons, oldest first; each is read once, since none is rewritten."""
        storage = self.workspace.storage
        names = lessons.names(storage)
        for name in names:
            if name not in self._files:
                self._files[name] = lessons.read(storage, name)
        return [self._files[name] for name in names]

    def in_force(self) -> list[Lesson]:
        """Lessons that count."""
        return lessons.in_force_of(self.files())

    def lessons_of(self, points: Sequence[Point]) -> list[Lesson]:
        """Points as lessons.

        Raises:
            InputError: a point is in no image, or its class can be none.
        """
        key = spec_of(self.workspace).clusters_key
        return [self._lesson(point, key) for point in points]

    def solution(self, more: Sequence[Lesson] = ()) -> Solution:
        """What the lessons in force and further ones make of the graph.

        Raises:
            WorkspaceError: the images are not prepared for teaching yet.
        """
        with self._lock:
            taught = self.in_force()
            sampled = graph.sampled_dumps(self.workspace, {lesson.dump for lesson in taught})
            ground = ground_of(self.workspace, sampled)
            counting = lessons.last_of_each_pixel([*taught, *more])
            clusters = ground.spec.clusters_key
            found = curriculum(self.workspace, counting, clusters, ground.spec.classes)
            known = (ground, tuple(counting), str(found.classes))
            solved = self._solutions.pop(known, None) or self._solved(ground, found)
            self._solutions[known] = solved  # used last
            while len(self._solutions) > SOLUTIONS:
                del self._solutions[next(iter(self._solutions))]
            return solved

    def preview(
        self, points: Sequence[Point], image: tuple[str, int] | None, examples: int = EXAMPLES
    ) -> Preview:
        """What points would change if they were taught.

        Args:
            image: dump and row of the one that is open.

        Raises:
            InputError: as `lessons_of`, or the open image is not prepared.
            WorkspaceError: as `solution`.
        """
        before, after = self.solution(), self.solution(self.lessons_of(points))
        table = renumbering(before, after)
        old, new = table[before.nodes()], after.nodes()
        changed = np.flatnonzero(old != new)
        margins = after.margins()
        ranked = changed[np.argsort(-margins[changed], kind="stable")]
        half = min(examples, -(-len(ranked) // 2))
        shown = ranked[:half], ranked[::-1][: min(examples, len(ranked) - half)]
        certain, uncertain = (
            [changed_patch(after, int(node), old, new, margins) for node in part] for part in shown
        )
        return Preview(
            after.classes,
            len(changed),
            len(old),
            certain,
            uncertain,
            None if image is None else table[before.image(*image)],
            None if image is None else after.image(*image),
            after.problems,
        )

    def _lesson(self, point: Point, clusters_key: str) -> Lesson:
        entry = IndexReader(self.workspace, point.dump).entry(point.row)
        for value, size, axis in ((point.x, "width", "x"), (point.y, "height", "y")):
            if not 0 <= value < entry[size]:
                last = entry[size] - 1
                raise InputError(f"{axis} is {value}; image {entry['path']} has 0 to {last}")
        name = lessons.checked_class(point.name.strip())
        return Lesson(point.dump, entry["image_id"], point.x, point.y, name, clusters_key)

    def _solved(self, ground: Ground, found: Curriculum) -> Solution:
        patches, missing = found_patches(self.workspace, found.lessons, ground.features_key)
        problems = [*found.problems, *missing]
        classes = len(found.classes.entries)
        spreading = ground.propagation(classes)
        if not patches:
            return Solution(ground, [], None, spreading.prior, found.classes, problems)
        ids = np.array([patch.cls for patch in patches], np.int64)
        learned = Lessons(ground.positions(patches), ids)
        start = self._last(ground)
        solved = spreading.taught(learned, None if start is None else widened(start, classes))
        return Solution(ground, patches, learned, solved, found.classes, problems)

    def _last(self, ground: Ground) -> NDArray[np.float32] | None:
        """The last probabilities on a ground."""
        for (other, _, _), solution in reversed(self._solutions.items()):
            if other == ground and solution.learned is not None:
                return solution.probabilities
        return None


def widened(probabilities: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """(n, classes): a solution for another number of classes, to start from."""
    start = np.zeros((len(probabilities), classes), np.float32)
    both = min(classes, probabilities.shape[1])
    start[:, :both] = probabilities[:, :both]
    return start


def changed_nodes(before: Solution, after: Solution) -> NDArray[np.bool_]:
    """(n,) which nodes have another class in a later solution on the same ground."""
    return np.asarray(renumbering(before, after)[before.nodes()] != after.nodes())


def renumbering(before: Solution, after: Solution) -> Ids:
    """(256,) ids of one solution among the classes of another."""
    return renumbered(before.classes, after.classes, after.ground.spec.classes)


def renumbered(before: ClassNames, after: ClassNames, clusters: int) -> Ids:
    """(256,) ids of classes among others: clusters stay, added classes are found by their names.

    One that is there no more becomes 255.
    """
    names = {entry.name.casefold(): id_ for id_, entry in enumerate(after.entries)}
    table = np.full(256, VOID_BYTE, np.uint8)
    table[:clusters] = np.arange(clusters)
    for number, entry in enumerate(before.entries[clusters:], clusters):
        table[number] = names.get(entry.name.casefold(), VOID_BYTE)
    return table


def changed_patch(
    solution: Solution, node: int, old: Ids, new: Ids, margins: NDArray[np.float32]
) -> ChangedPatch:
    """A node as people see it, with its classes before and after."""
    dump, row, patch = place_of(solution.ground, node)
    return ChangedPatch(dump, row, patch, int(old[node]), int(new[node]), float(margins[node]))


def place_of(ground: Ground, node: int) -> tuple[str, int, Patch]:
    """Dump, row and patch of a node; the patch in shares of its image."""
    place = Place(*ground.stored().places[node].tolist())
    patch = Patch(
        place.top / place.height, place.left / place.width, 1 / place.height, 1 / place.width
    )
    return ground.dumps[place.dump], place.row, patch
