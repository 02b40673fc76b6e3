"""A new head and new clusters, trained on the dumps that are there by now."""

from typing import Any, Literal

from prefect import flow

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import picie, stages
from flows.runs.labelling import Labelling, label_dump
from flows.runs.pipeline import make_current, train
from flows.runs.session import connected, session
from flows.runs.settings import RunOptions, built
from flows.runs.teaching.learning import with_lessons
from stego_core.errors import InputError
from tasks.masks.segmenter import refiner
from tasks.options import ComputeOptions, StorageOptions
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace


@flow(name="retrain", flow_run_name="retrain {workspace}")
@distinguish_outages
def retrain(
    workspace: str,
    dumps: list[str] | None = None,
    relabel: bool = True,
    classes: int | Literal["auto"] | None = None,
    compute_options: ComputeOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Train a new head on the dumps that are there by now, with the options of the last run.

    What people taught is learned again, by the names of the new clusters.

    Args:
        workspace: This folder or URI holds a finished workspace.
        dumps: These dumps are trained on. By default it is all of them.
        relabel: Every dump is labelled anew; otherwise only those that come later.
        classes: So many clusters are made, or with auto as many as `max_classes` of the last run
            allows, to be merged. By default it is as the last run was told, or else as many as the
            classes of the dumps' taxonomies.
        compute_options: These say where the work runs.
        storage_options: These say how object storage is reached.

    Returns:
        keys of all stages, the report's place.

    Raises:
        InputError: there is no such dump.
        OptionError: there cannot be so many classes.
    """
    storage, run = storage_options or StorageOptions(), compute_options or ComputeOptions()
    with connected(storage):
        current = Workspace.open(workspace).last_run()  # before a lease is taken on it
        with session(workspace, storage, run) as opened:
            known = opened.dumps()
            unknown = [name for name in dumps or [] if name not in known]
            if unknown:
                raise InputError(f"no dump {', '.join(unknown)}; there are {', '.join(known)}")
            tables = current["options"]
            if classes is not None:
                tables = {**tables, "clusters": {**tables.get("clusters", {}), "classes": classes}}
            sections = {name: built(name, table) for name, table in tables.items()}
            options = RunOptions(compute=run, **sections)
            refiner(options.masks)  # a package may be missing
            baseline = picie.of_last_run(opened, current, options.scores)
            clusters = opened.folder(layout.clusters(current["keys"]["clusters"])).manifest()
            trained = [name for name in known if not dumps or name in dumps]
            keys, neighbors = train(opened, trained, options, clusters["backbone"])
            make_current(opened, keys, neighbors, options)
            keys = with_lessons(opened, keys, options.masks, run)
            for name in known if relabel else ():
                own = options.masks, options.scores, run
                label_dump(Labelling(opened, name, *own, baseline), keys)
            opened.save_catalog()
            report = stages.report_flow(opened)
            artifacts.run_pages(opened, report)
            return {"keys": keys, "report": report}
