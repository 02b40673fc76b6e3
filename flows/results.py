"""Commands on what a workspace holds: `stego status`, `name`, `export`, `explore`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.commands import Shown
from stego_core.errors import OptionError
from tasks.options import ComputeOptions, ExportOptions

if TYPE_CHECKING:
    from tasks.classes import Named


def status(workspace: str, as_json: bool, doubtful: int | None) -> Shown:
    """What the workspace holds, or the images to look at first."""
    from flows import console, tables
    from tasks import confidence
    from tasks import status as whole
    from tasks.summary import Summary
    from tasks.workspace.workspace import Workspace

    summary = Summary(Workspace.open(workspace))
    if doubtful:
        found = confidence.least_certain(summary, doubtful)
        listed = [each._asdict() for each in found]
        return _json(listed) if as_json else lambda: tables.show_doubtful(found)
    document = whole.document(summary)
    return _json(document) if as_json else lambda: console.show_status(document)


def name(
    workspace: str,
    compute: ComputeOptions,
    as_json: bool,
    history: bool,
    propose: bool,
    accept: bool,
    support: float | None,
    images: str | None,
    labels: str | None,
    taxonomy: str | None,
    previous: bool,
    **edit: Any,
) -> Shown:
    """What people call the clusters."""
    from flows import naming, tables

    asked = naming.Edit(**{option: value for option, value in edit.items() if value is not None})
    if not (propose or accept):
        if previous or any(given is not None for given in (images, labels, taxonomy, support)):
            raise OptionError(
                "--images, --labels, --taxonomy, --previous and --support need --propose"
            )
        if history:
            revisions = naming.revisions(workspace)
            return lambda: tables.show_history(revisions)
        return _named(workspace, naming.edited(workspace, asked), as_json)
    if asked != naming.Edit() or history:
        raise OptionError("--propose and --accept are of all classes; give no other edit")
    if (images is None) != (labels is None):
        raise OptionError("--images and --labels go together: images to propose names from")
    if previous and (images or taxonomy):
        raise OptionError("--previous takes names from the masks before; give no labels with it")
    found = (
        naming.from_before(workspace)
        if previous
        else naming.proposed(workspace, images, labels, taxonomy, compute.device)
    )
    least = naming.SUPPORT if support is None else support
    if accept:
        return _named(workspace, naming.accept(workspace, found, least), as_json)
    if as_json:
        return _json([asdict(each) for each in found.found])
    return lambda: tables.show_proposals(found.found, least)


def _named(workspace: str, named: "Named", as_json: bool) -> Shown:
    from flows import naming, tables

    document = naming.document(workspace, named)
    return _json(document) if as_json else lambda: tables.show_classes(document)


def export(workspace: str, kind: str, out: str, dumps: str | None, export: ExportOptions) -> Shown:
    """Masks in a form that another tool reads."""
    from flows.export import export_masks

    return export_masks(workspace, kind, out, dumps, export)


def explore(
    workspace: str,
    port: int | None,
    host: str | None,
    no_browser: bool | None,
    export_root: Sequence[str],
    allow_changes: bool | None,
) -> Shown:
    """The page that shows a workspace."""
    from flows.explorer import serve

    chosen = serve.PORT if port is None else port
    where, browser = host or "127.0.0.1", not no_browser
    serve.serve(workspace, where, chosen, browser, export_root, bool(allow_changes))
    return None


def _json(document: Any) -> Shown:
    from flows import console

    return lambda: console.tell(json.dumps(document, indent=1, ensure_ascii=False))
