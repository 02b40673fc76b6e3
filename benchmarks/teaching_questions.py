"""Whether questions are worth asking: a simulated person answers them by the labels.

    python benchmarks/teaching_questions.py WORKSPACE... --questions 50

A workspace has labels and is prepared for teaching (Teach mode of `stego explore`, or `stego
teach`); its own lessons are left out, and a copy is taught. Questions of the explorer are compared
with the least certain patch, and with any patch. After each ten answers the sampled patches are
scored: the share whose class has the name of the label in the patch's middle.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import harness
import numpy as np
from numpy.typing import NDArray

from stego_core.teaching import questions
from tasks.corpus.index import IndexReader
from tasks.storage import run_cache
from tasks.teaching.preview import Solution, Teaching
from tasks.teaching.questions import Questions
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

EVERY = 10
Choice = Callable[..., NDArray[np.int64]]


@contextmanager
def asking(how: str, seed: int) -> Iterator[None]:
    """Ask as the explorer does ("explorer"), or "uncertain", or "any" patch."""
    draw = np.random.default_rng(seed)

    def uncertain(margins: Any, _: Any, excluded: Any) -> NDArray[np.int64]:
        return np.array([int(np.where(excluded, 2, margins).argmin())])

    def anything(_: Any, __: Any, excluded: Any) -> NDArray[np.int64]:
        return draw.permutation(np.flatnonzero(~excluded))[:1]

    chosen = {"uncertain": uncertain, "any": anything}.get(how, questions.candidates)
    with patch.object(questions, "candidates", chosen):
        yield


def truths(workspace: Workspace, solution: Solution) -> tuple[NDArray[np.int64], list[str]]:
    """(n,) classes of the labels at the nodes, −1 for none, and their names."""
    index = IndexReader(workspace, solution.ground.dumps[0])
    places = solution.ground.stored().places
    found = np.full(len(places), -1)
    for row in np.unique(places[places[:, 0] == 0, 1]).tolist():
        labels = index.labels(index.entry(row))
        own = np.flatnonzero((places[:, 0] == 0) & (places[:, 1] == row))
        if labels is not None:
            _, _, top, left, height, width = places[own].T
            y = ((top + 0.5) / height * labels.shape[0]).astype(int)
            x = ((left + 0.5) / width * labels.shape[1]).astype(int)
            found[own] = labels[y, x]
    return found, list(index.taxonomy().classes)


def score(solution: Solution, truth: NDArray[np.int64], names: list[str]) -> float:
    """Percent of the labelled nodes whose class has the label's name."""
    known = [entry.name for entry in solution.classes.entries]
    table = np.array([names.index(name) if name in names else -2 for name in known] + [-2])
    shown = table[np.minimum(solution.nodes(), len(known))]
    return float(100 * (shown == truth)[truth >= 0].mean())


def curve(place: str, how: str, chosen: argparse.Namespace) -> list[float]:
    """Scores before the first answer, and after each ten."""
    with tempfile.TemporaryDirectory() as scratch, run_cache.during(scratch):
        copy = Path(scratch, "ws")
        shutil.copytree(place, copy, ignore=shutil.ignore_patterns(layout.LESSONS))
        workspace = Workspace.open(str(copy))
        teaching = Teaching(workspace)
        asked, (truth, names) = Questions(teaching), truths(workspace, teaching.solution())
        scores = [score(teaching.solution(), truth, names)]
        with asking(how, chosen.seed):
            for number in range(1, chosen.questions + 1):
                question = asked.next()
                if question is None:
                    break
                cls = int(truth[question.node])
                asked.answer(question.node, names[cls] if cls >= 0 else None)
                if number % EVERY == 0:
                    scores.append(score(teaching.solution(), truth, names))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspaces", nargs="+")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the patches that are drawn")
    chosen = parser.parse_args()
    found = {}
    for place in chosen.workspaces:
        for how in ("explorer", "uncertain", "any"):
            found[f"{Path(place).name} {how}"] = scores = curve(place, how, chosen)
            text = " ".join(f"{value:6.1f}" for value in scores)
            print(f"{Path(place).name:24}{how:12}{text}", flush=True)
    document = {"curves": found, "options": vars(chosen), "machine": harness.machine()}
    harness.write("teaching_questions", document)


if __name__ == "__main__":
    main()
