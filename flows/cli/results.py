"""Commands on what a workspace holds: `stego status`, `export`, `explore`."""

import json
from typing import Annotated, Any

from cyclopts import Parameter, validators

from flows.cli import class_tables
from flows.cli.flags import Common, Dumps, Flag, Printing, Shown, command, listed
from flows.reporting import console, logs
from flows.runs.settings import flags, from_toml
from stego_core.errors import InputError
from tasks.corpus.changed_files import check_unchanged
from tasks.masks import confidence_table
from tasks.options import ExportFormat, ExportOptions
from tasks.options.base import EXPLORER_PORT
from tasks.report import status as whole
from tasks.storage.storage import Storage
from tasks.workspace.summary import Summary


@command()
def status(
    *,
    common: Printing,
    uncertain: Annotated[
        int | None, Parameter(alias="--doubtful", validator=validators.Number(gte=1))
    ] = None,
    quarantine: Flag = False,
    changed: Flag = False,
) -> Shown:
    """What the workspace holds.

    Args:
        quarantine: List every file that could not be used, of all dumps; by default those of the
            newest dumps.
        changed: Compare the files of every dump with its index, and name dumps that changed.
        uncertain: List so many images to look at first: those that are least certain. The flag's
            former name --doubtful goes with the next release.
    """
    summary = Summary(common.opened())
    if uncertain:
        images = confidence_table.least_certain(summary, uncertain)
        rows = [image._asdict() for image in images]
        return printed(rows) if common.as_json else lambda: class_tables.show_uncertain(images)
    if changed:
        require_unchanged(summary)
    document = whole.document(summary, quarantine)
    if common.as_json:
        return printed(document)
    return lambda: console.show_status(document, quarantine)


def require_unchanged(summary: Summary) -> None:
    """Raise an InputError that names every dump of which files changed since it was indexed."""
    found = []
    for dump in summary.dumps:
        try:
            check_unchanged(summary.workspace, dump)
        except InputError as error:
            found.append(str(error))
    if found:
        raise InputError("; ".join(found))


@command()
def export(
    *,
    common: Common,
    kind: Annotated[ExportFormat, Parameter(name="--format")],
    out: str,
    dumps: Dumps = None,
    export: Annotated[ExportOptions, flags("export")] = ExportOptions(),
) -> Shown:
    """Write the masks in a form that another tool reads.

    Args:
        kind: What the other tool reads.
        out: Folder or URI: empty, or with an earlier export of this format, which is replaced.
    """
    from tasks import exports  # torch takes seconds

    # Nothing is computed, so this is no flow: it would take longer to start one.
    workspace, target = common.opened(), Storage.at(out)
    outcome = exports.export(workspace, kind, target, listed(dumps), export)
    return lambda: console.show_export(kind, target.uri, outcome)


@command(begins=True)
def explore(
    *,
    common: Common,
    port: int = EXPLORER_PORT,
    host: str = "127.0.0.1",
    no_browser: Flag = False,
    export_root: Annotated[list[str] | None, Parameter(negative="")] = None,
    allow_changes: Flag = False,
) -> None:
    """Label images in the browser: point at them, look at the masks, name classes, export.

    The workspace may be an empty or a new folder.

    Args:
        port: Port; 0 for any free one.
        host: Address to listen on.
        no_browser: Do not open the page.
        export_root: Folder or URI below which the page may export; may be repeated. By default it
            is exports/ in the workspace.
        allow_changes: Let other machines change classes and export, where --host lets them in.
    """
    from flows.explorer import serve  # torch takes seconds
    from flows.explorer.home.run_request import Setup

    log = str(logs.log_path(common.workspace, common.log_file).resolve())
    setup = Setup(
        Storage.at(common.workspace).uri,
        from_toml(common.config) if common.config else {},
        common.storage,
        (log, common.log_format, common.log_file is not None),
    )
    given = common.workspace, host, port, not no_browser, export_root or [], allow_changes, setup
    serve.serve(*given)


def printed(document: Any) -> Shown:
    """Prints a document as JSON."""
    return lambda: console.tell(json.dumps(document, indent=1, ensure_ascii=False))
