"""A new head and new clusters, trained on the dumps that are there by now."""

from typing import Any

from prefect import flow

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import stages
from flows.runs.labelling import Labelling, label_dump
from flows.runs.pipeline import make_current, train
from flows.runs.session import connected, session
from flows.runs.settings import RunOptions, built
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
    compute_options: ComputeOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Train a new head on the dumps that are there by now, with the options of the last run.

    Args:
        workspace: This folder or URI holds a finished workspace.
        dumps: These dumps are trained on. By default it is all of them.
        relabel: Every dump is labelled anew; otherwise only those that come later.
        compute_options: These say where the work runs.
        storage_options: These say how object storage is reached.

    Returns:
        keys of all stages, the report's place.

    Raises:
        InputError: there is no such dump.
    """
    storage, run = storage_options or StorageOptions(), compute_options or ComputeOptions()
    with connected(storage):
        place = Workspace.open(workspace)
        current = place.last_run()
        with session(workspace, storage, run):
            there = place.dumps()
            unknown = [name for name in dumps or [] if name not in there]
            if unknown:
                raise InputError(f"no dump {', '.join(unknown)}; there are {', '.join(there)}")
            stored = {name: built(name, held) for name, held in current["options"].items()}
            options = RunOptions(compute=run, **stored)
            refiner(options.masks)  # a package may be missing
            clusters = place.folder(layout.clusters(current["keys"]["clusters"]))
            backbone = clusters.manifest()["backbone"]
            chosen = [name for name in there if not dumps or name in dumps]
            keys, tables = train(place, chosen, options, backbone)
            make_current(place, keys, tables, options)
            for name in there if relabel else ():
                label_dump(Labelling(place, name, options.masks, options.scores, run), keys)
            report = stages.report_flow(workspace)
            artifacts.run_pages(place, report)
            return {"keys": keys, "report": report}
