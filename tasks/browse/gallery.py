"""What people browse: the dumps and classes of a workspace, its images by class and by doubt."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError, OptionError, WorkspaceError
from stego_core.labels.void import VOID_BYTE
from tasks.browse.image_table import ImageTable, Item
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.images import image_codecs
from tasks.masks import confidence_table
from tasks.patch_index import patch_folder
from tasks.storage.run_cache import remembered
from tasks.workspace import layout
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

Order: TypeAlias = Literal["doubtful", "index", "class"]


class Page(NamedTuple):
    """A part of the gallery.

    Attributes:
        total: images that match, on all pages.
        items: of this page.
    """

    total: int
    items: list[Item]


def overview(workspace: Workspace) -> dict[str, Any]:
    """What there is to browse.

    Returns:
        `workspace`: its URI; `backbone`: name or None; `clusters`: key;
        `revision`, `stamp`, `note`: of the classes; `undo`: whether an edit can be undone;
        `dumps`: of each in order of arrival `name`, `images`, `labelled`, `quarantined`, `masks`
        (0: not browsable yet), `taxonomy` (names of the true classes, None without labels),
        `matches` (whether its patches can be searched);
        `classes`: of each cluster `id`, `name`, `colour`, `merged_into`, `ignored`, `shown` (id of
        the class it counts as, None where ignored), `share` (of the pixels of all masks that are
        of this cluster, 0 to 1; those of clusters merged into it are not in it).

    Raises:
        WorkspaceError: there are no clusters yet.
        InputError: `classes.toml` makes no sense.
    """
    summary, named = Summary(workspace), classes_file.current_names(workspace)
    clusters = summary.whole("clusters") or {}
    searchable = patch_folder.searchable(workspace)
    dumps, total = [], np.zeros(len(named.classes.entries), np.int64)
    for dump in summary.dumps:
        corpus, index = workspace.corpus(dump).manifest(), IndexReader(workspace, dump)
        masked = summary.manifest("masks", dump) or {}
        total += np.asarray(masked.get("pixels", 0 * total), np.int64)
        counts = {name: corpus[name] for name in ("images", "labelled", "quarantined")}
        dumps.append(
            {
                "name": dump,
                **counts,
                "masks": masked.get("masks", 0),
                "taxonomy": list(index.taxonomy().classes) if corpus["labelled"] else None,
                "matches": dump in searchable,
            }
        )
    shown = named.classes.display_table()
    return {
        "workspace": workspace.storage.uri,
        "backbone": clusters.get("backbone", {}).get("name"),
        "clusters": named.clusters_key,
        "revision": named.revision,
        "stamp": named.stamp,
        "note": named.note,
        "undo": classes_file.names_before_edit(workspace) is not None,
        "dumps": dumps,
        "classes": [
            {
                "id": number,
                **asdict(entry),
                "shown": None if shown[number] == VOID_BYTE else int(shown[number]),
                "share": float(total[number] / max(int(total.sum()), 1)),
            }
            for number, entry in enumerate(named.classes.entries)
        ],
    }


def page(
    workspace: Workspace,
    dump: str | None = None,
    cls: int | None = None,
    labelled: bool | None = None,
    order: Order = "doubtful",
    offset: int = 0,
    limit: int = 60,
) -> Page:
    """Some images that have masks.

    Args:
        workspace: whose images.
        dump: of which dump; None: of all, in order of arrival.
        cls: id of a class as shown; only images that show it, with what is merged into it.
        labelled: only images with a true label, or only those without.
        order: "doubtful": the most doubtful first; "index": as they were indexed; "class": the
            largest share of `cls` first.
        offset: images to pass over.
        limit: images at most.

    Raises:
        InputError: there is no such dump.
        OptionError: there is no such class, or "class" was asked for without one.
        WorkspaceError: no dump has masks, or they were made without confidence.
    """
    if order == "class" and cls is None:
        raise OptionError("images are ordered by class where one is given; choose a class")
    tables = _tables(workspace, dump)
    members = _members(workspace, cls)
    found = [table.found(members, labelled) for table in tables]
    owners = np.repeat(np.arange(len(tables)), [len(places) for places in found])
    places = np.concatenate(found)
    if order != "index":
        keys = [
            table.share(members)[own] if order == "class" else table.doubt[own]
            for table, own in zip(tables, found, strict=True)
        ]
        by = np.argsort(-np.concatenate(keys), kind="stable")
        owners, places = owners[by], places[by]
    part = slice(offset, offset + limit)
    chosen = zip(owners[part].tolist(), places[part].tolist(), strict=True)
    return Page(len(places), [tables[owner].item(place, members) for owner, place in chosen])


def item(workspace: Workspace, dump: str, row: int) -> Item | None:
    """One image of a dump, and how sure its mask is; None where that is not known."""
    folder = Summary(workspace).folder("masks", dump)
    if folder is None or not confidence_table.has_confidence(folder):
        return None
    table = _table(workspace, dump, folder)
    (places,) = np.nonzero(table.rows == row)
    return table.item(int(places[0]), None) if len(places) else None


def image(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 RGB of an image, as displayed.

    Raises:
        InputError: there is no such image.
        ImageError: it cannot be read any more, or is not what was indexed.
    """
    index = IndexReader(workspace, dump)
    return index.image(index.entry(row)).pixels


def mask(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Stored cluster ids (H, W) uint8 of an image; `ClassNames.display_table` maps them.

    Raises:
        InputError: there is no such image, or it has no mask.
    """
    image_id = IndexReader(workspace, dump).entry(row)["image_id"]
    return _stored(workspace, dump, lambda masks: f"{masks}/{image_id}.png")


def margins(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Margins (H, W) uint8 of an image's pixels: 255 where its class is sure, or where there is no
    data and so nothing to be unsure of.

    Raises:
        InputError: there is no such image, or it has no mask.
    """
    image_id = IndexReader(workspace, dump).entry(row)["image_id"]
    found = _stored(workspace, dump, lambda masks: layout.margins(masks, image_id))
    return np.where(mask(workspace, dump, row) == VOID_BYTE, np.uint8(255), found)


def labels(workspace: Workspace, dump: str, row: int) -> NDArray[np.int16] | None:
    """True class ids (H, W) int16 of an image, void −1; None if it has no label.

    Raises:
        InputError: there is no such image.
        ImageError: the label cannot be read any more, or is not what was indexed.
    """
    index = IndexReader(workspace, dump)
    return index.labels(index.entry(row))


def browsable(workspace: Workspace) -> list[tuple[str, int]]:
    """Dump and row of every image that has a mask.

    Raises:
        WorkspaceError: as `page`.
    """
    tables = _tables(workspace, None)
    return [(table.dump, row) for table in tables for row in table.rows.tolist()]


def _stored(workspace: Workspace, dump: str, path: Callable[[str], str]) -> NDArray[np.uint8]:
    """A stored map of an image, given where it lies from where its dump's masks lie."""
    folder = Summary(workspace).folder("masks", dump)
    try:
        if folder is not None:
            return image_codecs.decode_mask(folder.storage.read(path(folder.path)))
    except FileNotFoundError:
        pass  # the image could not be read when the masks were made: it is in quarantine
    raise InputError(f"this image of dump {dump} has no mask; `stego masks` makes what is missing")


def _tables(workspace: Workspace, dump: str | None) -> list[ImageTable]:
    """Of one dump, or of all that have masks."""
    summary = Summary(workspace)
    if dump is not None and dump not in summary.dumps:
        raise InputError(f"there is no dump {dump!r}; there are {', '.join(summary.dumps)}")
    wanted = summary.dumps if dump is None else [dump]
    folders = [(name, folder) for name in wanted if (folder := summary.folder("masks", name))]
    if not folders:
        raise WorkspaceError(
            f"{'no dump' if dump is None else f'dump {dump}'} has masks yet; run `stego masks`"
        )
    return [_table(workspace, name, folder) for name, folder in folders]


@remembered(16)
def _table(workspace: Workspace, dump: str, folder: Folder) -> ImageTable:
    if not confidence_table.has_confidence(folder):
        raise WorkspaceError(
            f"the masks of dump {dump} were made by an earlier version, which kept less of how "
            "sure they are; run `stego masks` again"
        )
    return ImageTable.read(folder, IndexReader(workspace, dump))


def _members(workspace: Workspace, cls: int | None) -> list[int] | None:
    """The clusters that count as a class."""
    if cls is None:
        return None
    now = classes_file.current_names(workspace).classes
    shown = now.display_table()
    members = [number for number in range(len(now.entries)) if shown[number] == cls]
    if not members:
        now.existing(cls)
        raise OptionError(
            f"class {cls} is merged into another or ignored; those shown are "
            f"{', '.join(map(str, now.kept()))}"
        )
    return members
