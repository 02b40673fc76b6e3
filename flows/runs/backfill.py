"""New dumps are labelled with the current head and clusters."""

import time
from typing import Any

from prefect import flow

from flows.reporting import artifacts
from flows.reporting.outage import distinguish_outages
from flows.runs import stages
from flows.runs.index_dump import index_dump
from flows.runs.labelling import Labelling, label_dump
from flows.runs.session import connected, session
from flows.runs.settings import built
from stego_core.errors import InputError, OptionError, OutageError, StegoError
from tasks.corpus.changed_files import check_unchanged
from tasks.corpus.listing import default_dump
from tasks.files.left_out import is_clip, is_image
from tasks.log import Log
from tasks.masks.segmenter import refiner
from tasks.options import (
    ComputeOptions,
    CorpusOptions,
    InboxOptions,
    ReadOptions,
    StorageOptions,
)
from tasks.storage.storage import Storage
from tasks.workspace import layout
from tasks.workspace.summary import Summary
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
        failed: dict[str, str] = {}
        dumps = [images] if images else new_dumps(workspace, inbox, failed) if inbox else []
        done: list[str] = []
        failure: type[StegoError] = InputError
        report = None
        if dumps:
            place = Workspace.open(workspace)
            current = place.last_run()  # before a lease is taken on it
            masks = current.get("options", {}).get("masks", {})
            refiner(built("masks", masks))  # a package may be missing
            with session(workspace, storage, run):
                for options in dumps:
                    name = dump or default_dump(options.images)
                    try:
                        label_new_dump(place, name, options, run)
                        done.append(name)
                    except StegoError as error:
                        if images:
                            raise
                        failed[name] = str(error)
                        if isinstance(error, OutageError):
                            failure = OutageError
                report = stages.report_flow(workspace)
                artifacts.run_pages(place, report)
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise failure(f"{len(failed)} dumps of the inbox were not labelled: {reasons}")
    log.info("backfill finished", workspace=workspace, dumps=len(done), labelled=",".join(done))
    return {"dumps": done, "report": report}


def new_dumps(workspace: str, options: InboxOptions, failed: dict[str, str]) -> list[CorpusOptions]:
    """Folders of the inbox that the workspace has no finished masks of, in order of their names.

    Those whose names begin with a dot or an underscore are passed over, those with the name of
    a dump from elsewhere are warned of. Finished dumps whose files changed since are put into
    `failed`.
    """
    inbox, found = options.inbox, []
    place = Storage.at(inbox)
    read = options.model_dump(include=set(ReadOptions.model_fields))
    held = _finished(workspace)
    for folder in place.folders(""):
        if folder.startswith((".", "_")):
            continue  # what tools put beside dumps
        source = Storage(place.full(folder))
        name = default_dump(folder)
        if name in held:
            opened = Workspace.open(workspace)
            if opened.corpus(name).manifest()["images_uri"] != source.uri:
                text = "folder has the name of a dump from elsewhere, rename it to have it labelled"
                log.warning(text, inbox=inbox, folder=folder, dump=name)
                continue
            try:
                check_unchanged(opened, name)
            except InputError as error:
                failed[name] = str(error)
            continue
        files = [file for file in source.files() if is_image(file.path) or is_clip(file.path)]
        newest = max((file.modified for file in files), default=0.0)
        if not files:
            log.warning("folder without images or videos", inbox=inbox, folder=folder)
        elif time.time() - newest < 60 * options.quiet_minutes:
            log.info("folder still changes, left for the next poll", inbox=inbox, folder=folder)
        else:
            found.append(CorpusOptions(images=source.uri, **read))
    log.info("inbox polled", inbox=inbox, new=len(found), known=len(held))
    return found


def _finished(workspace: str) -> set[str]:
    """Dumps whose masks with the current clusters are there; none of a workspace to come."""
    if not Storage.at(workspace).exists(layout.ROOT_FILE):
        return set()
    summary = Summary(Workspace.open(workspace))
    return {dump for dump in summary.dumps if summary.folder("masks", dump)}


def label_new_dump(
    workspace: Workspace, dump: str, options: CorpusOptions, run: ComputeOptions
) -> None:
    """Index one dump and label it.

    Beside the dumps that the head was trained on it also gets features, neighbours and drift; an
    imported head has none.
    """
    current = workspace.last_run()
    keys, chosen, trained_on = dict(current["keys"]), current["options"], current["dumps"]
    like = trained_on[0] if trained_on else None
    index_dump(workspace, dump, options, run, like, continuing=True)
    if trained_on:
        add_features(workspace, dump, current, run)
    masks, scores = (built(name, chosen.get(name, {})) for name in ("masks", "scores"))
    label_dump(Labelling(workspace, dump, masks, scores, run), keys)
    if trained_on:
        stages.drift_flow(workspace.storage.uri, dump, workspace.last_run()["keys"])


def add_features(
    workspace: Workspace, dump: str, current: dict[str, Any], run: ComputeOptions
) -> None:
    """Features of one dump, and its neighbours among all dumps before it."""
    location, keys, chosen = workspace.storage.uri, current["keys"], current["options"]
    backbone = workspace.folder(layout.clusters(keys["clusters"])).manifest()["backbone"]
    stages.features_flow(location, dump, built("features", chosen["features"]), run, backbone)
    searched = [
        name
        for name in _up_to(workspace, dump)
        if workspace.folder(layout.features(keys["features"], name)).finished
    ]
    options = built("neighbors", chosen["neighbors"])
    table = stages.neighbors_flow(location, dump, keys["features"], searched, options, run)
    workspace.update_last_run(neighbors={**current["neighbors"], dump: table})


def _up_to(workspace: Workspace, dump: str) -> list[str]:
    """Dumps in order of arrival, this one last: the same again however many came later."""
    dumps = workspace.dumps()
    return dumps[: dumps.index(dump) + 1]
