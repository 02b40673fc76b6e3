"""How a person gets to a report: an address that a browser opens, else the path and the command."""

import shlex

from flows.reporting import run_record
from tasks.workspace.workspace import Workspace

SIGNED_SECONDS = 7 * 24 * 3600
"""Lifetime of a signed address: the longest that S3 gives."""
PAGE = "text/html; charset=utf-8"


def address(workspace: Workspace, location: str) -> tuple[str, str] | None:
    """The page's address, of the web server that shows the workspace or a signed one, and a remark
    on how long it lasts.

    Browsers open no file:// address from a page of http, so a path has none.
    """
    path = location.removeprefix(workspace.storage.uri).lstrip("/")
    run = run_record.current()
    if run is not None and run.report_url:
        return f"{run.report_url.rstrip('/')}/{path}", ""
    signed = workspace.storage.signed(path, SIGNED_SECONDS, PAGE)
    if signed is None:
        return None
    days = SIGNED_SECONDS // (24 * 3600)
    remark = f" (the address expires after {days} days, or with the credentials that signed it)"
    return signed, remark


def sentence(workspace: Workspace, location: str) -> str:
    """The same in Markdown; without an address, the command that opens the page."""
    if page := address(workspace, location):
        return f"[{location}]({page[0]}){page[1]}"
    if workspace.storage.is_local:
        return f"`{location}`; open it with `python3 -m webbrowser {shlex.quote(location)}`"
    return f"`{location}`; fetch that file and open it in a browser"
