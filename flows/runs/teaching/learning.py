"""Lessons become a model: what images are read as, the graph of patches, taught clusters."""

from collections.abc import Sequence
from typing import NamedTuple

from prefect import flow

from flows.runs.stages import RUNNER, run_stage
from stego_core.labels.class_names import ClassNames
from tasks.class_names import classes_file
from tasks.engine import machine
from tasks.engine.stage import Stage
from tasks.log import Log
from tasks.masks import kept_features
from tasks.masks.segmenter import SegmenterSpec, segmenter_spec
from tasks.options import ComputeOptions, MasksOptions
from tasks.teaching import graph, image_features, lessons, taught_names
from tasks.teaching import stage as taught
from tasks.teaching.lesson_patches import TaughtPatch, found_patches, taught_key
from tasks.workspace.workspace import Workspace

log = Log(__name__)
TOLD = 10
"""Problems that are told one by one."""


class Learned(NamedTuple):
    """What lessons made.

    Attributes:
        clusters: key of the taught clusters; of those that were taught where no lesson counts.
        lessons: how many were learned.
        problems: why others were not.
    """

    clusters: str
    lessons: int
    problems: list[str]


def with_lessons(
    workspace: Workspace, keys: dict[str, str], options: MasksOptions, run: ComputeOptions
) -> dict[str, str]:
    """Keys of a new model after the workspace's lessons, which are learned if there are any."""
    if not lessons.in_force(workspace.storage):
        return keys
    learned = learn(workspace, segmenter_spec(workspace, keys["clusters"], options), run)
    keys = {**keys, "clusters": learned.clusters}
    workspace.update_last_run(keys={**workspace.last_run()["keys"], **keys})
    return keys


def learn(workspace: Workspace, spec: SegmenterSpec, run: ComputeOptions) -> Learned:
    """Teach clusters all lessons in force, and carry their names over.

    Args:
        spec: the segmenter of the clusters.
    """
    in_force = lessons.in_force(workspace.storage)
    found = taught_names.curriculum(workspace, in_force, spec.clusters_key, spec.classes)
    dumps = graph.sampled_dumps(workspace, {lesson.dump for lesson, _ in found.lessons})
    for dump in dumps if found.lessons else ():
        image_features_flow(workspace, dump, spec, run)
    features = kept_features.features_key(spec)
    patches, missing = found_patches(workspace, found.lessons, features)
    problems = [*found.problems, *missing]
    tell_left_out(problems, "lessons")
    if patches:
        names = [entry.name for entry in found.classes.entries]
        key, classes = taught_flow(workspace, dumps, spec, patches, names, run), found.classes
    else:
        key, classes = spec.clusters_key, ClassNames(found.classes.entries[: spec.classes])
    classes_file.carry(workspace, key, classes, f"taught by {len(patches)} lessons")
    return Learned(key, len(patches), problems)


def tell_left_out(problems: Sequence[str], what: str) -> None:
    """Log why something could not be used: the first problems one by one, then how many more."""
    for problem in problems[:TOLD]:
        log.warning(f"{what} left out", reason=problem)
    if len(problems) > TOLD:
        log.warning(f"more {what} left out", count=len(problems) - TOLD)


@flow(name="image features", flow_run_name="image features {dump}", task_runner=RUNNER)
def image_features_flow(
    workspace: Workspace, dump: str, spec: SegmenterSpec, run: ComputeOptions
) -> None:
    """Keep what each image of a dump is read as."""
    device = machine.worker_device(run)
    run_stage(image_features.plan(workspace, dump, spec, device), run)


@flow(name="taught clusters", task_runner=RUNNER)
def taught_flow(
    workspace: Workspace,
    dumps: Sequence[str],
    spec: SegmenterSpec,
    patches: Sequence[TaughtPatch],
    names: Sequence[str],
    run: ComputeOptions,
) -> str:
    """The graph of sampled patches, and what lessons make of it; returns the clusters' key."""
    run_stage(graph.plan(workspace, dumps, spec), run, Stage.finish_single)
    graph_key = graph.graph_key(workspace, dumps, spec)
    run_stage(taught.plan(workspace, spec, graph_key, patches, names), run, Stage.finish_single)
    return taught_key(spec, graph_key, patches, names[spec.classes :])
