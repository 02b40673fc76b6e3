"""Exports as a flow: masks in the forms that other tools read."""

from typing import Any

from prefect import flow

from flows.session import connected
from tasks import exports, stop
from tasks.options import ExportFormat, ExportOptions, StorageOptions
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace


@flow(name="export", flow_run_name="export {kind} to {out}")
def export(
    workspace: str,
    kind: ExportFormat,
    out: str,
    dumps: list[str] | None = None,
    options: ExportOptions | None = None,
    storage_options: StorageOptions | None = None,
) -> dict[str, Any]:
    """Write the current masks for another tool, with the classes as they are named now.

    Args:
        workspace: path or URI.
        kind: the format.
        out: folder or URI, empty or with an earlier export of this format.
        dumps: their names; default: all of them.
        options: what the export holds beyond masks.
        storage_options: how object storage is reached.

    Returns:
        what was written and what was left out, as in the export's export.json.
    """
    with connected(storage_options or StorageOptions()), stop.on_request():
        return exports.export(Workspace.open(workspace), kind, Storage.at(out), dumps, options)
