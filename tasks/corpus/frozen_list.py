"""The frozen list of a dump: made once before its images are read, then never again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.listing import (
    LISTING_COLUMNS,
    Listing,
    ListingRequest,
    column_names,
    facts_of,
    list_images,
)
from tasks.files import video_files
from tasks.files.left_out import LeftOutCounts
from tasks.labels.coco_labels import TABLE_COLUMNS, CategoryMeaning, CocoFile
from tasks.labels.label_files import LabelFiles
from tasks.labels.taxonomies import taxonomy_document
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

Frames = Mapping[str, list[Any]] | None
"""Columns of a dump's frames; None without videos."""


@dataclass(frozen=True)
class FrozenList:
    """Facts of a dump's list beside its rows."""

    images: Storage  # the folder that the paths of images are relative to
    labels: Storage | None  # the folder of the labels; None without
    taxonomy: Taxonomy | None  # of the labels
    coco: dict[str, str] | None  # path and digest of the labels' COCO file; None without
    left_out: LeftOutCounts  # files that become no image, and remarks

    def manifest(self) -> dict[str, Any]:
        """Its part of the dump's manifest."""
        return {
            "images_root": self.images.uri,
            "labels_root": self.labels and self.labels.uri,
            "taxonomy": taxonomy_document(self.taxonomy),
            "coco": self.coco,
            **self.left_out.document(),
        }


def freeze_list(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    taxonomy: Taxonomy | None,
    frames: Frames,
) -> FrozenList:
    """List a dump, unless it has been listed; raises as `list_images`."""
    folder = workspace.corpus(dump)
    if not folder.storage.exists(f"{folder.path}/{layout.LISTING_FILE}"):
        _write_list(workspace, folder, options, taxonomy, frames)
    facts = facts_of(folder)
    return FrozenList(
        Storage(facts["images_root"]),
        Storage(facts["labels_root"]) if facts["labels_root"] else None,
        Taxonomy.parse(facts["taxonomy"]) if facts["taxonomy"] else None,
        facts["coco"],
        LeftOutCounts.of(facts),
    )


def _write_list(
    workspace: Workspace,
    folder: Folder,
    options: CorpusOptions,
    taxonomy: Taxonomy | None,
    frames: Frames,
) -> None:
    source = Storage.at(options.images)
    every_page = options.pages == "all"
    listing = list_images(
        source,
        Storage.at(options.labels) if options.labels else None,
        frames,
        ListingRequest(
            **options.suffixes(), every_page=every_page, workspace=workspace.storage.uri
        ),
    )
    coco = None
    if listing.labels and listing.labels.coco:
        coco, taxonomy = _add_coco_labels(folder, listing, listing.labels, taxonomy)
    facts = {
        **listing.left_out.document(),
        "images_root": video_files.root_and_files(source)[0].uri,
        "labels_root": listing.labels and listing.labels.root.uri,
        "taxonomy": taxonomy_document(taxonomy),
        "coco": coco,
        "passed": listing.label_paths,
    }
    content = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    facts_file = f"{folder.path}/{layout.FACTS_FILE}"
    folder.storage.write(facts_file, content.encode("utf-8", "backslashreplace"))
    columns = column_names(LISTING_COLUMNS, frames is not None, every_page)
    path = f"{folder.path}/{layout.LISTING_FILE}"
    tables.write_table(folder.storage, path, listing.columns, columns)


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
