"""Images that an earlier run could not have are tried again, each dump's as a new dump."""

from typing import Any

from flows.runs import stages
from flows.runs.backfill import backfill
from flows.runs.index_dump import index_dump
from flows.runs.session import connected, session
from stego_core.errors import InputError
from tasks.corpus.quarantined_again import next_name, quarantined_rows
from tasks.log import Log
from tasks.options import ComputeOptions, CorpusOptions, StorageOptions
from tasks.sources.forms import AGAIN
from tasks.workspace.workspace import Workspace

log = Log(__name__)
KEPT = ("max_pixels", "bands", "value_range")
"""Options of a dump that also hold for its images that are tried again."""


def retry(
    workspace: str,
    dump: str | None,
    compute_options: ComputeOptions,
    storage_options: StorageOptions,
) -> dict[str, Any]:
    """Try quarantined images again; those that can be had are labelled, if a model is there.

    Returns:
        names of the new dumps, and the report's place; None where nothing was new.

    Raises:
        InputError: there is no such dump, or none of the images can be had.
    """
    with connected(storage_options):
        opened = Workspace.open(workspace)
        waiting = _waiting(opened, dump)
        made, failed, report = [], [], None
        for last, name in waiting.items():
            manifest = opened.corpus(last).manifest()
            kept = {option: manifest[option] for option in KEPT if manifest.get(option) is not None}
            corpus = CorpusOptions(images=f"{AGAIN}{last}", **kept)
            try:
                report = _label(opened, name, corpus, compute_options, storage_options) or report
                made.append(name)
            except InputError as error:
                failed.append(f"{last}: {error}")
    if failed:
        raise InputError("; ".join(failed))
    return {"dumps": made, "report": report}


def _waiting(workspace: Workspace, dump: str | None) -> dict[str, str]:
    """Dumps with images to try, and the names of the new dumps."""
    names = workspace.dumps()
    if dump is not None and dump not in names:
        raise InputError(f"there is no dump {dump!r}; there are {', '.join(names)}")
    pairs = dict(next_name(workspace, name) for name in ([dump] if dump else names))
    return {last: name for last, name in pairs.items() if quarantined_rows(workspace, last)}


def _label(
    workspace: Workspace,
    name: str,
    corpus: CorpusOptions,
    compute_options: ComputeOptions,
    storage_options: StorageOptions,
) -> str | None:
    """Label a new dump with the current model, or index it where there is none yet."""
    uri = workspace.storage.uri
    if workspace.last_run_or_none() is not None:
        outcome = backfill(uri, corpus, name, None, compute_options, storage_options)
        return str(outcome["report"])
    with session(uri, storage_options, compute_options) as opened:
        index_dump(opened, name, corpus, compute_options, continuing=True)
        return stages.report_flow(opened)
