"""How long a person who teaches waits: a synthetic graph of a large corpus, or a workspace.

    python benchmarks/teaching_speed.py [--nodes 12000 --channels 384 --classes 27 --lessons 60]
    python benchmarks/teaching_speed.py --workspace WORKSPACE

The graph is as large as that of 10,000 images, since at most 12,000 patches are sampled; its
features are unit vectors around `--kinds` centres. With `--workspace`, the same is asked of a
prepared workspace, files and all; what is taught there is stored in a copy.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np

from stego_core.clustering.kmeans import unit
from stego_core.teaching import questions
from stego_core.teaching.patch_graph import Near, PatchGraph, Projection
from stego_core.teaching.propagation import Lessons, Propagation, cluster_prior, read_off
from tasks.storage import run_cache
from tasks.teaching.preview import Point, Teaching
from tasks.teaching.questions import Questions
from tasks.workspace.workspace import Workspace

PATCHES = (40, 60)
"""Of the open image."""


Found = dict[str, list[float]]
"""Milliseconds of each time that something was done."""


def timed(found: Found, what: str, work: Callable[..., Any], *arguments: Any) -> Any:
    begun = time.perf_counter()
    outcome = work(*arguments)
    found.setdefault(what, []).append(1000 * (time.perf_counter() - begun))
    return outcome


def synthetic(chosen: argparse.Namespace) -> Found:
    """What a point costs, and a question, with many lessons there before."""
    draw, found = np.random.default_rng(chosen.seed), Found()
    centres = unit(draw.normal(size=(chosen.kinds, chosen.channels)))
    kinds = draw.integers(chosen.kinds, size=chosen.nodes)
    noise = draw.normal(size=(chosen.nodes, chosen.channels)) / np.sqrt(chosen.channels)
    features = unit(centres[kinds] + 0.7 * noise).astype(np.float32)
    groups = draw.integers(chosen.classes, size=chosen.kinds)
    clusters = unit(np.stack([centres[groups == c].sum(axis=0) for c in range(chosen.classes)]))
    projection = Projection.of(features)
    graph = timed(found, "graph, once", PatchGraph.of, projection(features))
    spread = Propagation.of(graph, cluster_prior(features @ clusters.T, chosen.classes))
    image = graph.positions[draw.integers(chosen.nodes, size=PATCHES[0] * PATCHES[1])]
    taught = draw.permutation(chosen.nodes)
    classes = draw.integers(chosen.classes, size=chosen.nodes)  # at odds with the clusters

    def lessons(count: int) -> Lessons:
        return Lessons(graph.positions[taught[:count]], classes[:count])

    before = timed(found, "first solution", spread.taught, lessons(chosen.lessons))
    for number in range(chosen.lessons + 1, chosen.lessons + 1 + chosen.repeats):
        near, now = timed(found, "image opened", graph.nearest_nodes, image), lessons(number)
        after = timed(found, "new border after a point", border, spread, now, before, near)
        timed(found, "changed patches of the corpus", changed, before, after)
        timed(found, "next question", asked, spread, now, after, taught[:number])
        before = after
    return found


def border(spread: Propagation, now: Lessons, before: Any, near: Near) -> Any:
    after = spread.taught(now, before)
    read_off(near, after).argmax(axis=1)
    return after


def changed(before: Any, after: Any) -> Any:
    nodes = np.flatnonzero(before.argmax(axis=1) != after.argmax(axis=1))
    return nodes[np.argsort(-questions.margins_of(after)[nodes], kind="stable")]


def asked(spread: Propagation, now: Lessons, after: Any, taught: Any) -> Any:
    left_out = questions.joined_to(spread.smooth, taught)
    nodes = questions.candidates(questions.margins_of(after), spread, left_out)
    return questions.expected_changes(after, spread.influence(now, nodes), nodes, spread.pull)


def of_workspace(place: str, chosen: argparse.Namespace) -> Found:
    """What the page asks for."""
    found, draw = Found(), np.random.default_rng(chosen.seed)
    with tempfile.TemporaryDirectory() as scratch, run_cache.during("benchmark"):
        shutil.copytree(place, Path(scratch, "ws"))
        workspace = Workspace.open(str(Path(scratch, "ws")))
        teaching = Teaching(workspace)
        asking, dump = Questions(teaching), workspace.dumps()[0]
        timed(found, "first solution", teaching.solution)
        rows = draw.permutation(workspace.corpus(dump).manifest()["images"])[: chosen.repeats]
        for row in rows.tolist():
            points = [Point(dump, row, x, 5, f"class {row % 3}") for x in (5, 25)]
            timed(found, "image opened", teaching.preview, [], (dump, row))
            timed(found, "preview of a point", teaching.preview, points[:1], (dump, row))
            timed(found, "preview of a second", teaching.preview, points, (dump, row))
            question = timed(found, "next question", asking.next)
            if question is None:
                break
            timed(found, "answer learned", asking.answer, question.node, question.name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=12_000)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--classes", type=int, default=27)
    parser.add_argument("--kinds", type=int, default=300)
    parser.add_argument("--lessons", type=int, default=60, help="that are there before")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", help="one that is prepared for teaching")
    chosen = parser.parse_args()
    found = of_workspace(chosen.workspace, chosen) if chosen.workspace else synthetic(chosen)
    for what, times in found.items():
        print(f"{what:32}{statistics.median(times):9.0f} ms, at most {max(times):.0f}")
    harness.write(
        "teaching_speed",
        {"milliseconds": found, "options": vars(chosen), "machine": harness.machine()},
    )


if __name__ == "__main__":
    main()
