"""The listing of a dump whose images are members of archives, or addresses in lists."""

from collections.abc import Callable, Sequence

from stego_core.errors import OptionError
from tasks.corpus.listing import LISTING_COLUMNS, column_names
from tasks.corpus.quarantined_again import list_again
from tasks.files.left_out import LeftOutCounts
from tasks.options import CorpusOptions
from tasks.sources.forms import Form, Object, form_of, objects_of
from tasks.sources.inventory import Inventory
from tasks.sources.member_rows import bare_suffixes
from tasks.sources.reading import MemberReader
from tasks.sources.uri_lists import ListColumns
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace


def has_members(options: CorpusOptions) -> bool:
    """Whether images are members of archives or addresses in lists, not files of a folder."""
    return form_of(options.images) is not Form.FILES


def counted(options: CorpusOptions) -> tuple[list[Object], dict[str, str]]:
    """The archives or lists, and why others cannot be had; raises as `inventory_of`."""
    _require_fitting(options)
    return objects_of(options.images)


def inventory_of(folder: Folder, options: CorpusOptions) -> Inventory:
    """What the options name, to be listed in the folder of a dump.

    Raises:
        OptionError: options that are given do not go together.
    """
    _require_fitting(options)
    columns = ListColumns(
        options.url_column,
        options.id_column,
        options.label_column,
        options.split_column,
        options.caption_column,
    )
    suffixes = bare_suffixes(options.image_suffix, options.label_suffix)
    location = Storage.at(options.images).uri
    return Inventory(folder.storage, folder.path, location, suffixes, columns, options.split)


def _require_fitting(options: CorpusOptions) -> None:
    form = form_of(options.images)
    if options.list_options() and form is not Form.LIST:
        first = next(iter(options.list_options())).replace("_", "-")
        raise OptionError(f"--{first} is for lists; {options.images} is none")
    if options.pages == "all":
        raise OptionError(
            "--pages all is for files; of a TIFF in an archive or a list, the first page is read"
        )
    if options.labels:
        raise OptionError(
            "--labels is for images that are files; in an archive, KEY.seg.png is the label of "
            "KEY.jpg (or what --label-suffix says), and in a list, --label-column names it"
        )


def write_member_list(
    workspace: Workspace,
    folder: Folder,
    options: CorpusOptions,
    note: Callable[[LeftOutCounts, MemberReader, Sequence[Object]], None],
) -> None:
    """Write the listing of a dump.

    Before that, `note` what is left out, what reads images, and the archives or lists.
    """
    columns = column_names(LISTING_COLUMNS, members=True)
    path = f"{folder.path}/{layout.LISTING_FILE}"
    if form_of(options.images) is Form.AGAIN:
        values, left_out, reader = list_again(workspace, options.images, columns)
        note(left_out, reader, [])
        tables.write_table(folder.storage, path, values, columns)
        return
    inventory = inventory_of(folder, options)
    parts, left_out, objects = inventory.index(columns)
    note(left_out, MemberReader(inventory.location, inventory.columns), objects)
    inventory.join(parts, path, columns)
