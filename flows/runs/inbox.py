"""The inbox: which of its folders are new dumps, and whether files of known ones changed."""

import random
import time
from collections.abc import Sequence

from stego_core.errors import InputError, StegoError
from tasks.corpus.changed_files import check_unchanged
from tasks.corpus.listing import default_dump
from tasks.files.left_out import is_clip, is_image
from tasks.log import Log
from tasks.options import CorpusOptions, InboxOptions, ReadOptions
from tasks.storage.storage import Storage
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)

CHECKED_NEWEST = 4
"""Newest dumps of the inbox whose files every poll compares with the index."""
CHECKED_OTHERS = 4
"""Other dumps of the inbox whose files a poll compares, drawn anew each time."""


def new_dumps(
    workspace: str, options: InboxOptions, failed: dict[str, StegoError]
) -> list[CorpusOptions]:
    """Folders of the inbox that the workspace has no finished masks of, in order of their names.

    Those whose names begin with a dot or an underscore are passed over, those with the name of
    a dump from elsewhere are warned of. Finished dumps whose files changed since are put into
    `failed`, as far as this poll looks at them (`dumps_to_check`).
    """
    inbox, new = Storage.at(options.inbox), []
    read = options.model_dump(include=set(ReadOptions.model_fields))
    known = _labelled_dumps(workspace)
    there: list[str] = []
    for folder in inbox.folders(""):
        if folder.startswith((".", "_")):
            continue  # what tools put beside dumps
        source = Storage(inbox.full(folder))
        name = default_dump(folder)
        if name not in known:
            if _is_complete(source, options.quiet_minutes):
                new.append(CorpusOptions(images=source.uri, **read))
        elif known[name] == source.uri:
            there.append(name)
        else:
            text = "folder has the name of a dump from elsewhere, rename it to have it labelled"
            log.warning(text, folder=source.uri, dump=name)
    order = {dump: number for number, dump in enumerate(known)}
    checked = dumps_to_check(sorted(there, key=order.__getitem__), random.Random())
    for name in checked:
        try:
            check_unchanged(Workspace.open(workspace), name)
        except InputError as error:
            failed[name] = error
    counts = {"new": len(new), "known": len(known), "checked": len(checked)}
    log.info("inbox polled", inbox=options.inbox, **counts)
    return new


def _labelled_dumps(workspace: str) -> dict[str, str]:
    """Dumps whose masks with the current clusters are there, in order of arrival, and where their
    images are; none of a workspace to come.
    """
    if not Storage.at(workspace).exists(layout.ROOT_FILE):
        return {}
    summary = Summary(Workspace.open(workspace))
    return {
        dump: str(entry.corpus["images_uri"])
        for dump, entry in summary.catalog.items()
        if summary.done("masks", dump)
    }


def dumps_to_check(known: Sequence[str], generator: random.Random) -> list[str]:
    """Dumps of the inbox whose files a poll compares with the index: the newest, and a sample of
    the others, so that a poll costs the same however many there are.

    Args:
        known: in order of arrival.
    """
    newest, others = list(known[-CHECKED_NEWEST:]), list(known[:-CHECKED_NEWEST])
    return generator.sample(others, min(CHECKED_OTHERS, len(others))) + newest


def _is_complete(source: Storage, quiet_minutes: float) -> bool:
    """Whether a folder of the inbox holds images or videos, and none of them came just now."""
    files = [file for file in source.files() if is_image(file.path) or is_clip(file.path)]
    if not files:
        log.warning("folder without images or videos", folder=source.uri)
        return False
    if time.time() - max(file.modified for file in files) < 60 * quiet_minutes:
        log.info("folder still changes, left for the next poll", folder=source.uri)
        return False
    return True
