"""The frozen list of a dump: made once before its images are read, then never again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import (
    ListedRows,
    Listing,
    ListingRequest,
    facts_of,
    list_rows,
)
from tasks.corpus.member_list import has_members, write_member_list
from tasks.files import video_files
from tasks.files.image_names import storable
from tasks.files.left_out import LeftOutCounts
from tasks.labels.coco_labels import TABLE_COLUMNS, CategoryMeaning, CocoFile
from tasks.labels.label_files import LabelFiles
from tasks.labels.taxonomies import load_taxonomy, taxonomy_document
from tasks.options import CorpusOptions
from tasks.sources.forms import AGAIN, Object
from tasks.sources.reading import MemberReader
from tasks.storage.spool import Rows, Spool
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

Frames = Iterable[Mapping[str, Any]] | None
"""Rows of a dump's frames, once; None without videos."""


@dataclass(frozen=True)
class FrozenList:
    """Facts of a dump's list beside its rows."""

    images: Storage  # the folder that the paths of images are relative to
    labels: Storage | None  # the folder of the labels; None without
    taxonomy: Taxonomy | None  # of the labels
    coco: dict[str, str] | None  # path and digest of the labels' COCO file; None without
    left_out: LeftOutCounts  # files that become no image, and remarks
    sources: dict[str, Any] | None = None  # archives or lists; None where images are files

    @property
    def members(self) -> MemberReader | None:
        """What reads members of archives or addresses of lists."""
        return MemberReader.of(self.sources)

    def manifest(self) -> dict[str, Any]:
        """Its part of the dump's manifest."""
        return {
            "images_root": self.images.uri,
            "labels_root": self.labels and self.labels.uri,
            "taxonomy": taxonomy_document(self.taxonomy),
            "coco": self.coco,
            **({"members": self.sources} if self.sources else {}),
            **self.left_out.document(),
        }


def taxonomy_of(workspace: Workspace, options: CorpusOptions, like: str | None) -> Taxonomy | None:
    """What a dump's labels mean: as options say, else as for the dump that it is like."""
    taxonomy = load_taxonomy(options.taxonomy)
    if options.images.startswith(AGAIN):
        first = options.images.removeprefix(AGAIN)
        like = first if first in workspace.dumps() else None
    may_have_labels = options.labels or options.label_suffix or has_members(options)
    if taxonomy is None and may_have_labels and like:
        return IndexReader(workspace, like).stated_taxonomy()
    return taxonomy


def freeze_list(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    taxonomy: Taxonomy | None,
    frames: Frames,
) -> FrozenList:
    """List a dump, unless it has been listed; raises as `list_rows`."""
    folder = workspace.corpus(dump)
    if not folder.storage.exists(f"{folder.path}/{layout.LISTING_FILE}"):
        if has_members(options):
            write_member_list(workspace, folder, options, partial(_note_members, folder, taxonomy))
        else:
            _write_list(workspace, folder, options, taxonomy, frames)
    facts = facts_of(folder)
    return FrozenList(
        Storage(facts["images_root"]),
        Storage(facts["labels_root"]) if facts["labels_root"] else None,
        Taxonomy.parse(facts["taxonomy"]) if facts["taxonomy"] else None,
        facts["coco"],
        LeftOutCounts.of(facts),
        facts.get("members"),
    )


def listed(
    spool: Spool, workspace: Workspace, options: CorpusOptions, frames: Frames = None
) -> ListedRows:
    """The images that options name, as they lie there now; raises as `list_rows`."""
    return list_rows(
        spool,
        Storage.at(options.images),
        Storage.at(options.labels) if options.labels else None,
        frames,
        ListingRequest(
            **options.suffixes(),
            every_page=options.pages == "all",
            workspace=workspace.storage.uri,
        ),
    )


def _note_members(
    folder: Folder,
    taxonomy: Taxonomy | None,
    left_out: LeftOutCounts,
    reader: MemberReader,
    objects: Sequence[Object],
) -> None:
    facts = {
        **left_out.document(),
        "images_root": reader.location,
        "labels_root": reader.location,
        "taxonomy": taxonomy_document(taxonomy),
        "coco": None,
        "members": reader.document(objects),
    }
    _write_facts(folder, facts)


def _write_facts(folder: Folder, facts: Mapping[str, Any]) -> None:
    content = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    facts_file = f"{folder.path}/{layout.FACTS_FILE}"
    folder.storage.write(facts_file, content.encode("utf-8", "backslashreplace"))


def _write_list(
    workspace: Workspace,
    folder: Folder,
    options: CorpusOptions,
    taxonomy: Taxonomy | None,
    frames: Frames,
) -> None:
    with Spool() as spool:
        rows = listed(spool, workspace, options, frames)
        coco, parts = None, rows.parts()
        if rows.labels and rows.labels.coco:
            listing = rows.in_memory()
            coco, taxonomy = _add_coco_labels(folder, listing, rows.labels, taxonomy)
            parts = iter([listing.columns])
        facts = {
            **rows.left_out.document(),
            "images_root": video_files.root_and_each(Storage.at(options.images))[0].uri,
            "labels_root": rows.labels and rows.labels.root.uri,
            "taxonomy": taxonomy_document(taxonomy),
            "coco": coco,
            "passed": len(rows.label_paths),
        }
        if rows.label_paths:
            _write_label_paths(folder, rows.label_paths)
        _write_facts(folder, facts)
        path = f"{folder.path}/{layout.LISTING_FILE}"
        tables.write_parts(folder.storage, path, parts, rows.schema)


def _write_label_paths(folder: Folder, paths: Rows[str]) -> None:
    """Keep which files among the images are labels: they are no images that came later."""
    rows = iter(paths)
    parts = iter(lambda: list(map(storable, islice(rows, tables.ROW_GROUP))), [])
    path, columns = f"{folder.path}/{layout.LISTED_LABELS_FILE}", {"path": "string"}
    tables.write_parts(folder.storage, path, ({"path": part} for part in parts), columns)


def _add_coco_labels(
    folder: Folder, listing: Listing, labels: LabelFiles, taxonomy: Taxonomy | None
) -> tuple[dict[str, str], Taxonomy]:
    """Write the annotated areas of each image beside the list, and name the labels in it."""
    path, columns = str(labels.coco), listing.columns
    content = labels.root.read(path)
    file = CocoFile.parse(content, path)
    meaning = CategoryMeaning.of(file, taxonomy, listing.left_out)
    records = file.records_of(columns["path"], listing.left_out)
    areas = [record and meaning.areas(record, file) for record in records]
    columns["label"] = [
        f"{path}: {record['file_name']}" if record and area else None
        for record, area in zip(records, areas, strict=True)
    ]
    table = f"{folder.path}/{layout.COCO_FILE}"
    tables.write_table(folder.storage, table, {"areas": areas}, TABLE_COLUMNS)
    return {"path": path, "digest": keys.digest(content)}, meaning.taxonomy
