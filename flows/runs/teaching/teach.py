"""What people teach: lessons are stored, learned, and the dumps labelled anew."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import picie, stages
from flows.runs.labelling import Labelling, label_dump
from flows.runs.session import connected, session
from flows.runs.settings import built
from flows.runs.teaching.learning import learn, tell_left_out
from stego_core.errors import InputError
from tasks.class_names import classes_file
from tasks.log import Log
from tasks.masks.segmenter import refiner, segmenter_spec, untaught_clusters
from tasks.options import ComputeOptions, StorageOptions
from tasks.teaching import changed_pixels, lessons
from tasks.teaching.changed_pixels import ChangedPixels
from tasks.teaching.corrected_masks import read_masks
from tasks.teaching.point_files import ReadPoints, read_points
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

log = Log(__name__)


class MasksGiven(BaseModel):
    """Corrected masks.

    Attributes:
        masks: path or URI of their folder, or of a file of an annotation tool.
        taxonomy: JSON file of what their values mean; None for the workspace's own classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    masks: str
    taxonomy: str | None = None


@flow(name="teach", flow_run_name="teach {workspace}")
@distinguish_outages
def teach(
    workspace: str,
    points: str | None = None,
    masks: MasksGiven | None = None,
    undo: bool = False,
    dumps: list[str] | None = None,
    compute_options: ComputeOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Learn what people taught, and label the dumps anew.

    Lessons are stored before anything else is done: they count in the next run, whatever happens
    to this one.

    Args:
        workspace: This folder or URI holds a finished workspace.
        points: This CSV file has the columns image, x, y and class. Without it, all lessons that
            are there are learned again.
        masks: These are corrected masks or label images; where they differ from the current masks,
            they are lessons.
        undo: What was taught last is taken back.
        dumps: These dumps are labelled anew. By default it is all of them.
        compute_options: These say where the work runs.
        storage_options: These say how object storage is reached.

    Returns:
        lessons that count, those given, their problems, changed pixels, the report's place.

    Raises:
        InputError: there is no such dump, or the file cannot be used.
        WorkspaceError: nothing was taught that could be taken back.
    """
    storage, run = storage_options or StorageOptions(), compute_options or ComputeOptions()
    with connected(storage):
        opened = Workspace.open(workspace)
        current = opened.last_run()
        _require_dumps(opened, dumps or [])
        refiner(built("masks", current["options"].get("masks", {})))  # a package may be missing
        given, problems = _stored(opened, points, masks, undo, current["keys"]["clusters"])
        with session(workspace, storage, run) as leased:
            return {
                "given": given,
                "problems": problems,
                **_learned_and_labelled(leased, dumps or leased.dumps(), run),
            }


def outcome_sentence(outcome: Mapping[str, Any]) -> str:
    """What people are told of what `teach` returned."""
    share = 100 * outcome["changed"] / max(outcome["pixels"], 1)
    return (
        f"{outcome['lessons']:,} lessons learned; {outcome['changed']:,} of {outcome['pixels']:,} "
        f"pixels changed ({share:.1f} %), in {outcome['images']:,} images"
    )


def _require_dumps(workspace: Workspace, dumps: Sequence[str]) -> None:
    known = workspace.dumps()
    if unknown := [name for name in dumps if name not in known]:
        raise InputError(f"no dump {', '.join(unknown)}; there are {', '.join(known)}")


def _stored(
    workspace: Workspace,
    points: str | None,
    masks: MasksGiven | None,
    undo: bool,
    clusters_key: str,
) -> tuple[int, list[str]]:
    """Store what was given; how many lessons that are, and why others are none."""
    if undo:
        log.info("taken back", lessons=lessons.undo(workspace.storage).note)
    dumps, base = workspace.dumps(), str(untaught_clusters(workspace, clusters_key))
    given = dict[str, ReadPoints]()
    if points is not None:
        given["points of " + _file_name(points)] = read_points(workspace, points, dumps, base)
    if masks is not None:
        text = "corrections of " + _file_name(masks.masks)
        given[text] = read_masks(workspace, masks.masks, dumps, base, masks.taxonomy)
    problems = [problem for found in given.values() for problem in found.problems]
    tell_left_out(problems, "rows or masks")
    for what, found in given.items():
        stored = lessons.add(workspace.storage, found.lessons, f"{len(found.lessons)} {what}")
        log.info("lessons stored", file=stored.file, lessons=len(found.lessons))
    return sum(len(found.lessons) for found in given.values()), problems


def _file_name(location: str) -> str:
    return location.rstrip("/").rpartition("/")[2]


def _learned_and_labelled(
    workspace: Workspace, dumps: Sequence[str], run: ComputeOptions
) -> dict[str, Any]:
    """Learn all lessons, then label dumps with what was learned."""
    current = workspace.last_run()
    options = {name: built(name, current["options"].get(name, {})) for name in ("masks", "scores")}
    spec = segmenter_spec(workspace, current["keys"]["clusters"], options["masks"])
    learned = learn(workspace, spec, run)  # current once it has masks: they have its classes
    baseline = picie.of_last_run(workspace, current, options["scores"])
    changed, before = ChangedPixels(), current["keys"].get("masks")
    for dump in dumps:
        keys = {"clusters": learned.clusters}
        label_dump(
            Labelling(workspace, dump, options["masks"], options["scores"], run, baseline), keys
        )
        if before:
            changed += _changes(workspace, dump, before, keys["masks"])
    workspace.save_catalog()
    report = stages.report_flow(workspace)
    artifacts.run_pages(workspace, report)
    log.info("lessons learned", lessons=learned.lessons, **changed._asdict())
    return {
        "lessons": learned.lessons,
        "unlearned": learned.problems,
        **changed._asdict(),
        "report": report,
    }


def _changes(workspace: Workspace, dump: str, before: str, after: str) -> ChangedPixels:
    """What is shown as another class; none of a dump that had no masks before."""
    if not workspace.folder(layout.masks(before, dump)).finished:
        return ChangedPixels()
    shown_as = classes_file.current_names(workspace).classes.display_table()
    return changed_pixels.changed_pixels(workspace, dump, before, after, shown_as)
