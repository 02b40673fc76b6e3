"""The dumps and classes of a workspace, and pages of its images by class and by uncertainty."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError, OptionError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.browse import image_order
from tasks.browse.dump_tables import image_table, masked_entries, masks_folder, tables_of
from tasks.browse.image_table import ImageTable, Item
from tasks.class_names import classes_file, merge_suggestions
from tasks.corpus.index import IndexReader, dump_taxonomy
from tasks.images import image_codecs
from tasks.masks import confidence_table
from tasks.patch_index import patch_rows
from tasks.workspace import layout
from tasks.workspace.dump_entry import DumpEntry
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

Order: TypeAlias = Literal["doubtful", "index", "class"]


class Page(NamedTuple):
    """A part of the gallery; `total` images match on all pages."""

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
    searchable = set(patch_rows.searchable(workspace))
    return {
        "workspace": workspace.storage.uri,
        "backbone": clusters.get("backbone", {}).get("name"),
        "clusters": named.clusters_key,
        "revision": named.revision,
        "stamp": named.stamp,
        "note": named.note,
        "undo": classes_file.names_before_edit(workspace) is not None,
        "dumps": [
            {**_dump(dump, entry), "matches": dump in searchable}
            for dump, entry in summary.catalog.items()
        ],
        "classes": _classes(named.classes, summary.class_margins().shares()),
    }


def suggested_merges(workspace: Workspace, groups: int | None = None) -> dict[str, Any]:
    """Which classes could be merged into so many groups, or into as many as are suggested.

    Returns:
        `Suggestion.document`, and `images`: by class, the one with the largest share of it, as in
        `page`; without those that no image shows.

    Raises:
        OptionError: there cannot be so many groups.
        WorkspaceError: as `page`.
    """
    classes = classes_file.current_names(workspace).classes
    document = merge_suggestions.suggestion(Summary(workspace), classes, groups).document()
    pages = {
        number: page(workspace, cls=number, order="class", limit=1) for number in classes.kept()
    }
    images = {number: asdict(found.items[0]) for number, found in pages.items() if found.items}
    return {**document, "images": images}


def _dump(dump: str, entry: DumpEntry) -> dict[str, Any]:
    corpus = entry.corpus
    return {
        "name": dump,
        **{name: corpus[name] for name in ("images", "labelled", "quarantined")},
        "taxonomy": list(dump_taxonomy(corpus).classes) if corpus["labelled"] else None,
        "masks": entry.stages.get("masks", {}).get("masks", 0),
    }


def _classes(classes: ClassNames, shares: NDArray[np.float64]) -> list[dict[str, Any]]:
    class_of = classes.display_table().tolist()
    return [
        {
            "id": number,
            **asdict(entry),
            "shown": None if class_of[number] == VOID_BYTE else class_of[number],
            "share": float(shares[number]),
        }
        for number, entry in enumerate(classes.entries)
    ]


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
        dump: of which dump; None: of all, in order of arrival.
        cls: id of a class that is shown: only images of it, and of what is merged into it.
        labelled: only images with a true label, or only those without.
        order: "doubtful": the most uncertain first; "index": as they were indexed; "class": the
            largest share of `cls` first.
        offset, limit: images to skip, and images at most.

    Raises:
        InputError: there is no such dump.
        OptionError: there is no such class, or the order "class" comes without one.
        WorkspaceError: no dump has masks, or they were made without confidence.
    """
    if order == "class" and cls is None:
        raise OptionError("images are ordered by class where one is given; choose a class")
    members = _members(workspace, cls)
    if members is None and labelled is None and dump is None:
        places = _over_all_dumps(workspace, order, offset, limit)
        if places is not None:
            return places
    tables = tables_of(workspace, dump, members, labelled)
    if not tables:
        return Page(0, [])
    matching = [table.matching(members, labelled) for table in tables]
    owners = np.repeat(np.arange(len(tables)), [len(numbers) for numbers in matching])
    numbers = np.concatenate(matching)
    if order != "index":
        keys = [
            (table.share(members) if order == "class" else table.column("doubt"))[selected]
            for table, selected in zip(tables, matching, strict=True)
        ]
        ranking = np.argsort(-np.concatenate(keys), kind="stable")
        owners, numbers = owners[ranking], numbers[ranking]
    part = slice(offset, offset + limit)
    return Page(len(numbers), _items(tables, owners[part], numbers[part], members))


def _items(
    tables: Sequence[ImageTable],
    owners: NDArray[np.int64],
    numbers: NDArray[np.int64],
    members: Sequence[int] | None,
) -> list[Item]:
    """Images by their tables and their numbers in them, in this order."""
    items = np.empty(len(owners), object)
    for owner in np.unique(owners):
        own = np.flatnonzero(owners == owner)
        items[own] = tables[owner].items(numbers[own], members)
    return list(items)


def _over_all_dumps(workspace: Workspace, order: Order, offset: int, limit: int) -> Page | None:
    """A page without any condition; None where the catalog does not know enough for it."""
    entries = masked_entries(Summary(workspace), None)

    def table(dump: str) -> ImageTable:
        return image_table(workspace, dump, masks_folder(workspace, dump, entries[dump]))

    if order == "index":
        places: list[image_order.Place] | None = image_order.as_indexed(entries, offset, limit)
    else:
        places = image_order.least_certain(entries, table, offset, limit)
    if places is None:
        return None
    total = sum(int(entry.stages["masks"]["masks"]) for entry in entries.values())
    dumps = list(dict.fromkeys(dump for dump, _ in places))
    owners = np.array([dumps.index(dump) for dump, _ in places], np.int64)
    numbers = np.array([number for _, number in places], np.int64)
    return Page(total, _items([table(dump) for dump in dumps], owners, numbers, None))


def item(workspace: Workspace, dump: str, row: int) -> Item | None:
    """One image of a dump, and how certain its mask is; None where that is not known."""
    folder = Summary(workspace).folder("masks", dump)
    if folder is None or not confidence_table.has_confidence(folder):
        return None
    table = image_table(workspace, dump, folder)
    numbers = np.flatnonzero(table.column("row") == row)
    return table.items(numbers, None)[0] if len(numbers) else None


def image(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 RGB of an image, as displayed.

    Raises:
        InputError, ImageError: as `IndexReader.entry` and `image`.
    """
    index = IndexReader(workspace, dump)
    return index.image(index.entry(row)).pixels


def mask(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Stored cluster ids (H, W) uint8 of an image; `ClassNames.display_table` maps them to classes.

    Raises:
        InputError: there is no such image, or it has no mask.
    """
    return _stored(workspace, dump, row, layout.mask)


def margins(workspace: Workspace, dump: str, row: int) -> NDArray[np.uint8]:
    """Confidence margins (H, W) uint8 of an image: 255 where the class is certain, or no data is.

    Raises:
        InputError: as `mask`.
    """
    stored = _stored(workspace, dump, row, layout.margins)
    return np.where(mask(workspace, dump, row) == VOID_BYTE, np.uint8(255), stored)


def labels(workspace: Workspace, dump: str, row: int) -> NDArray[np.int16] | None:
    """True class ids (H, W) int16 of an image, void −1; None if it has no label.

    Raises:
        InputError, ImageError: as `IndexReader.entry` and `labels`.
    """
    index = IndexReader(workspace, dump)
    return index.labels(index.entry(row))


def browsable(workspace: Workspace) -> list[tuple[str, int]]:
    """Dump and row of every image that has a mask; raises a WorkspaceError as `page` does."""
    tables = tables_of(workspace, None)
    return [(table.dump, row) for table in tables for row in table.column("row").tolist()]


def _stored(
    workspace: Workspace, dump: str, row: int, path_of: Callable[[str, str], str]
) -> NDArray[np.uint8]:
    """A stored map of an image; `path_of` gives its path from the masks' folder and the id."""
    image_id = IndexReader(workspace, dump).entry(row)["image_id"]
    folder = Summary(workspace).folder("masks", dump)
    try:
        if folder is not None:
            return image_codecs.decode_mask(folder.storage.read(path_of(folder.path, image_id)))
    except FileNotFoundError:
        pass  # the image could not be read when the masks were made: it is in quarantine
    raise InputError(f"this image of dump {dump} has no mask; `stego masks` makes what is missing")


def _members(workspace: Workspace, cls: int | None) -> list[int] | None:
    """The clusters that count as a class."""
    if cls is None:
        return None
    classes = classes_file.current_names(workspace).classes
    members = [int(number) for number in np.flatnonzero(classes.display_table() == cls)]
    if not members:
        classes.existing(cls)
        raise OptionError(
            f"class {cls} is merged into another or ignored; those shown are "
            f"{', '.join(map(str, classes.kept()))}"
        )
    return members
