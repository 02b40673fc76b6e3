"""The frozen list of a dump: made once before its images are read, then never again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.listing import (
    FACTS,
    LISTING,
    Listed,
    ListingRequest,
    column_names,
    facts_of,
    listed,
)
from tasks.files import video_files
from tasks.files.left_out import LeftOutCounts
from tasks.labels import coco_labels
from tasks.labels.coco_labels import CocoFile, Meaning
from tasks.labels.taxonomies import taxonomy_document
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

COCO = layout.COCO_FILE


@dataclass(frozen=True)
class Frozen:
    """What is known of a dump's list beside its rows.

    Attributes:
        images: the folder that the paths of images are relative to.
        labels: the folder of the labels; None without.
        taxonomy: of the labels.
        coco: path, version and digest of the COCO file that holds the labels; None without.
        told: what a person should know.
    """

    images: Storage
    labels: Storage | None
    taxonomy: Taxonomy | None
    coco: dict[str, str] | None
    told: LeftOutCounts

    def manifest(self) -> dict[str, Any]:
        """What of it the dump's manifest keeps."""
        return {
            "images_root": self.images.uri,
            "labels_root": self.labels and self.labels.uri,
            "taxonomy": taxonomy_document(self.taxonomy),
            "coco": self.coco,
        }


def frozen(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    taxonomy: Taxonomy | None,
    frames: Mapping[str, list[Any]] | None,
) -> Frozen:
    """List a dump, unless it has been listed.

    Raises:
        InputError: there are no images, or the labels belong to none.
    """
    folder = workspace.corpus(dump)
    if not folder.storage.exists(f"{folder.path}/{LISTING}"):
        _freeze(workspace, folder, options, taxonomy, frames)
    facts = facts_of(folder)
    stated = facts.get("taxonomy")
    return Frozen(
        Storage(facts.get("images_root") or Storage.at(options.images).uri),
        _labels(options, facts),
        Taxonomy.parse(stated) if stated else taxonomy,
        facts.get("coco"),
        LeftOutCounts.of(facts),
    )


def _labels(options: CorpusOptions, facts: Mapping[str, Any]) -> Storage | None:
    if facts.get("labels_root"):
        return Storage(facts["labels_root"])
    return Storage.at(options.labels) if options.labels else None


def _freeze(
    workspace: Workspace,
    folder: Folder,
    options: CorpusOptions,
    taxonomy: Taxonomy | None,
    frames: Mapping[str, list[Any]] | None,
) -> None:
    source = Storage.at(options.images)
    every_page = options.pages == "all"
    wish = ListingRequest(
        options.image_suffix or "", options.label_suffix or "", every_page, workspace.storage.uri
    )
    place = Storage.at(options.labels) if options.labels else None
    found = listed(source, place, frames, wish)
    root, _ = video_files.found(source)
    coco = None
    if found.labels and found.labels.coco:
        coco, taxonomy = _coco(folder, found, taxonomy)
    facts = {
        **found.told.document(),
        "images_root": root.uri,
        "labels_root": found.labels and found.labels.root.uri,
        "taxonomy": taxonomy_document(taxonomy),
        "coco": coco,
        "passed": found.passed,
    }
    content = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    folder.storage.write(f"{folder.path}/{FACTS}", content.encode("utf-8", "backslashreplace"))
    kinds = column_names(frames is not None, every_page)
    tables.write_table(folder.storage, f"{folder.path}/{LISTING}", found.columns, kinds)


def _coco(
    folder: Folder, found: Listed, taxonomy: Taxonomy | None
) -> tuple[dict[str, str], Taxonomy]:
    """Write what is drawn of each image beside the list, and name the labels in it."""
    assert found.labels is not None
    assert found.labels.coco is not None
    name, columns = found.labels.coco, found.columns
    content = found.labels.root.read(name)
    file = CocoFile.parse(content, name)
    meaning = Meaning.of(file, taxonomy, found.told)
    records = file.matched(columns["path"], found.told)
    areas = [record and meaning.areas(record, file) for record in records]
    columns["label"] = [
        f"{name}: {record['file_name']}" if record and area else None
        for record, area in zip(records, areas, strict=True)
    ]
    path = f"{folder.path}/{COCO}"
    tables.write_table(folder.storage, path, {"areas": areas}, coco_labels.TABLE_COLUMNS)
    return {"path": name, "digest": keys.digest(content)}, meaning.taxonomy
