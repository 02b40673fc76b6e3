"""Questions to people: a patch whose answer teaches most, one after the other."""

from dataclasses import dataclass
from threading import RLock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stego_core.errors import InputError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from stego_core.search.patch_map import Patch
from stego_core.teaching import questions
from stego_core.teaching.propagation import Lessons, Propagation
from tasks.corpus.index import IndexReader
from tasks.teaching import lessons
from tasks.teaching.preview import Point, Solution, Teaching, changed_nodes, place_of


@dataclass(frozen=True)
class Question:
    """A patch that people are asked about.

    Attributes:
        node: of the graph.
        dump, row, patch: where it lies.
        x, y: the pixel that an answer is a lesson of, in the patch's middle.
        cls, name: the class that it is shown as.
        region: (h, w) bool, the patches of this class that hang together with it in its image.
        expected: nodes that are expected to change with the answer.
        classes: that are known.
    """

    node: int
    dump: str
    row: int
    patch: Patch
    x: int
    y: int
    cls: int
    name: str
    region: NDArray[np.bool_]
    expected: float
    classes: ClassNames


class Answered(NamedTuple):
    """What an answer did: sampled patches of another class, and all of them."""

    changed: int
    nodes: int


class Questions:
    """Asks about a workspace; no neighbourhood twice, as long as the process runs."""

    def __init__(self, teaching: Teaching) -> None:
        """Of what is taught."""
        self.teaching = teaching
        self._lock = RLock()
        self._asked: dict[str, list[int]] = {}  # nodes, by the key of their graph

    def next(self) -> Question | None:
        """The next question; None where none is left.

        Raises:
            WorkspaceError: the images are not prepared for teaching yet.
        """
        with self._lock:
            solution = self.teaching.solution()
            shown = shown_probabilities(solution)
            spreading = solution.ground.propagation(solution.probabilities.shape[1])
            excluded = self._excluded(solution, spreading)
            nodes = questions.candidates(questions.margins_of(shown), spreading, excluded)
            if not len(nodes):
                return None
            influence = spreading.influence(_learned(solution), nodes)
            expected = questions.expected_changes(shown, influence, nodes, spreading.pull)
            best = int(expected.argmax())
            return self._question(solution, int(nodes[best]), float(expected[best]))

    def answer(self, node: int, name: str | None) -> Answered:
        """Take an answer as a lesson; None skips the question.

        Raises:
            InputError: there is no such patch, or no class can be called so.
        """
        with self._lock:
            before = self.teaching.solution()
            last = len(before.probabilities) - 1
            if not 0 <= node <= last:
                raise InputError(f"there is no patch {node}; they are 0 to {last}")
            question = self._question(before, node, 0.0)
            if name is not None:
                point = Point(question.dump, question.row, question.x, question.y, name)
                (lesson,) = taught = self.teaching.lessons_of([point])
                storage = self.teaching.workspace.storage
                lessons.add(storage, taught, f"answer: {lesson.name}", question.name)
            self._asked.setdefault(before.ground.key, []).append(node)
            if name is None:
                return Answered(0, len(before.probabilities))
            changed = changed_nodes(before, self.teaching.solution())
            return Answered(int(np.count_nonzero(changed)), len(changed))

    def _excluded(self, solution: Solution, spreading: Propagation) -> NDArray[np.bool_]:
        """Nodes that were asked or taught, and those joined to them; and those of no class."""
        nodes = self._asked.get(solution.ground.key, [])
        if solution.learned is not None:
            near = spreading.graph.nearest_nodes(solution.learned.positions, 1)
            nodes = [*nodes, *near.nodes.ravel().tolist()]
        joined = questions.joined_to(spreading.smooth, np.array(nodes, np.int64))
        return np.asarray(joined | (solution.nodes() == VOID_BYTE))

    def _question(self, solution: Solution, node: int, expected: float) -> Question:
        dump, row, patch = place_of(solution.ground, node)
        ids = solution.image(dump, row)
        top, left = round(patch.y * ids.shape[0]), round(patch.x * ids.shape[1])
        cls = int(ids[top, left])
        parts, _ = ndimage.label(ids == cls)
        entry = IndexReader(self.teaching.workspace, dump).entry(row)
        return Question(
            node,
            dump,
            row,
            patch,
            int((patch.x + patch.width / 2) * entry["width"]),
            int((patch.y + patch.height / 2) * entry["height"]),
            cls,
            "" if cls == VOID_BYTE else solution.classes.entries[cls].name,
            parts == parts[top, left],
            expected,
            solution.classes,
        )


def shown_probabilities(solution: Solution) -> NDArray[np.float32]:
    """(n, S) of the S classes that are shown: what is merged counts together."""
    table = solution.classes.display_table()[: solution.probabilities.shape[1]]
    _, place = np.unique(table, return_inverse=True)
    together = np.zeros((len(table), int(place.max()) + 1), np.float32)
    together[np.arange(len(table)), place] = 1
    return np.asarray(solution.probabilities @ together, np.float32)


def _learned(solution: Solution) -> Lessons:
    """The lessons, or none."""
    if solution.learned is not None:
        return solution.learned
    depth = solution.ground.stored().graph.positions.shape[1]
    return Lessons(np.zeros((0, depth), np.float32), np.zeros(0, np.int64))
