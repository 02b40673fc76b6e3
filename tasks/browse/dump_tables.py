"""The tables of images of the dumps that have masks, read once for each state of the workspace."""

from stego_core.errors import InputError, WorkspaceError
from tasks.browse import image_order
from tasks.browse.image_table import ImageTable
from tasks.corpus.index import IndexReader
from tasks.masks import confidence_table
from tasks.storage.run_cache import remembered
from tasks.workspace import layout
from tasks.workspace.catalog_file import Entries
from tasks.workspace.dump_entry import DumpEntry
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

TABLES = 2048
"""Dumps whose tables are kept: a page with a condition reads those of all dumps."""


def masked_entries(summary: Summary, dump: str | None) -> Entries:
    """Entries of one dump, or of all, with masks; raises as `page`."""
    catalog = summary.catalog
    if dump is not None and dump not in catalog:
        raise InputError(f"there is no dump {dump!r}; there are {', '.join(catalog)}")
    names = catalog if dump is None else [dump]
    entries = {name: catalog[name] for name in names if summary.done("masks", name)}
    if not entries:
        raise WorkspaceError(
            f"{'no dump' if dump is None else f'dump {dump}'} has masks yet; run `stego masks`"
        )
    return entries


def masks_folder(workspace: Workspace, dump: str, entry: DumpEntry) -> Folder:
    """The folder of a dump's current masks."""
    return workspace.folder(layout.masks(entry.stages["masks"]["key"], dump))


def tables_of(
    workspace: Workspace,
    dump: str | None,
    members: list[int] | None = None,
    labelled: bool | None = None,
) -> list[ImageTable]:
    """The table of one dump, or those of all that may have such images; raises as `page`."""
    entries = masked_entries(Summary(workspace), dump)
    names = image_order.candidates(entries, members, labelled)
    folders = {name: masks_folder(workspace, name, entries[name]) for name in names}
    return [image_table(workspace, name, folder) for name, folder in folders.items()]


@remembered(TABLES)
def image_table(workspace: Workspace, dump: str, folder: Folder) -> ImageTable:
    """The table of a dump; a WorkspaceError if its masks came without their confidence."""
    if not confidence_table.has_confidence(folder):
        raise WorkspaceError(
            f"the masks of dump {dump} were made by an earlier version, which stored less about "
            "their confidence; run `stego masks` again"
        )
    return ImageTable(folder, IndexReader(workspace, dump))
