"""New dumps are labelled with the current head and clusters."""

from typing import Any

from prefect import flow

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import picie, stages
from flows.runs.inbox import new_dumps
from flows.runs.index_dump import index_dump
from flows.runs.labelling import Labelling, label_dump
from flows.runs.session import connected, session
from flows.runs.settings import built
from stego_core.errors import InputError, OptionError, OutageError, StegoError
from tasks.corpus.listing import default_dump
from tasks.features.rows import feature_rows
from tasks.log import Log
from tasks.masks.segmenter import refiner
from tasks.options import (
    ComputeOptions,
    CorpusOptions,
    InboxOptions,
    StorageOptions,
)
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

log = Log(__name__)


@flow(name="backfill", flow_run_name="backfill {workspace}")
@distinguish_outages
def backfill(
    workspace: str,
    images: CorpusOptions | None = None,
    dump: str | None = None,
    inbox: InboxOptions | None = None,
    compute_options: ComputeOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Label new dumps with the current head and clusters; costs their own size only.

    Args:
        workspace: This folder or URI holds a finished workspace.
        images: These are the images of one new dump; give either this or `inbox`.
        inbox: This is the place whose every new folder is a dump.
        dump: This names the one dump in the workspace. By default it is the last part of its path.
        compute_options: These say where the work runs.
        storage_options: These say how object storage is reached.

    Returns:
        the dumps that were labelled, the report's place; None where nothing was new.

    Raises:
        InputError: some dumps could not be labelled; the others were.
        OutageError: the same, and trying again may help.
    """
    if (images is None) == (inbox is None):
        raise OptionError("give either --images, a dump, or --inbox, a folder of dumps")
    storage, run = storage_options or StorageOptions(), compute_options or ComputeOptions()
    with connected(storage):
        failed: dict[str, StegoError] = {}
        dumps = [images] if images else new_dumps(workspace, inbox, failed) if inbox else []
        labelled: list[str] = []
        report = None
        if dumps:
            options = Workspace.open(workspace).last_run()["options"]  # before a lease is taken
            refiner(built("masks", options.get("masks", {})))  # a package may be missing
            with session(workspace, storage, run) as opened:
                for corpus in dumps:
                    name = dump or default_dump(corpus.images)
                    try:
                        label_new_dump(opened, name, corpus, run)
                        labelled.append(name)
                    except StegoError as error:
                        if images:
                            raise
                        failed[name] = error
                report = stages.report_flow(opened)
                artifacts.run_pages(opened, report)
    if failed:
        reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
        outage = any(isinstance(error, OutageError) for error in failed.values())
        kind = OutageError if outage else InputError
        raise kind(f"{len(failed)} dumps of the inbox were not labelled: {reasons}")
    counts = {"dumps": len(labelled), "labelled": ",".join(labelled)}
    log.info("backfill finished", workspace=workspace, **counts)
    return {"dumps": labelled, "report": report}


def label_new_dump(
    workspace: Workspace, dump: str, corpus: CorpusOptions, run: ComputeOptions
) -> None:
    """Index one dump and label it.

    Beside the dumps that the head was trained on it also gets features, neighbours and drift; an
    imported head has none.
    """
    current = workspace.last_run()
    keys, options, trained_on = dict(current["keys"]), current["options"], current["dumps"]
    like = trained_on[0] if trained_on else None
    index_dump(workspace, dump, corpus, run, like, continuing=True)
    if trained_on:
        add_features(workspace, dump, current, run)
    masks, scores = (built(name, options.get(name, {})) for name in ("masks", "scores"))
    baseline = picie.of_last_run(workspace, current, scores)
    label_dump(Labelling(workspace, dump, masks, scores, run, baseline), keys)
    if trained_on:
        stages.drift_flow(workspace, dump, workspace.last_run()["keys"])
    workspace.save_catalog()


def add_features(
    workspace: Workspace, dump: str, current: dict[str, Any], run: ComputeOptions
) -> None:
    """Features of one dump, and its neighbours among its own images and those that the head was
    trained on: what they cost does not depend on how many dumps there are. A retraining completes
    them.
    """
    keys, options = current["keys"], current["options"]
    backbone = workspace.folder(layout.clusters(keys["clusters"])).manifest()["backbone"]
    stages.features_flow(workspace, dump, built("features", options["features"]), run, backbone)
    searched = list(dict.fromkeys([*current["dumps"], dump]))
    rows = feature_rows(workspace, keys["features"], searched)
    table = stages.neighbors_flow(rows, dump, built("neighbors", options["neighbors"]), run)
    workspace.update_last_run(neighbors={**current["neighbors"], dump: table})
