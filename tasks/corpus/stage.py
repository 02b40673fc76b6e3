"""Stage corpus: a pile of images becomes a dump, a frozen index with its quarantine list."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.images.value_range import parsed_bands
from tasks.corpus.changed_files import begin, check_unchanged, require_name
from tasks.corpus.columns import QUARANTINE_COLUMNS, index_columns
from tasks.corpus.findings import (
    alike,
    bad_label,
    decide,
    further,
    part_file,
    refuse_problems,
    require_labels,
    values_file,
)
from tasks.corpus.frozen_list import COCO, frozen
from tasks.corpus.image_label import Labelling
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import CLIP_COLUMNS, LISTING, PAGE_COLUMNS, read_file
from tasks.engine import machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.files import tiff_pages, video_files
from tasks.files.left_out import LeftOutCounts
from tasks.images import number_counts, rendering
from tasks.images import number_meaning as values
from tasks.images.decoding_memory import Room
from tasks.labels import label_decoding
from tasks.labels.taxonomies import load_taxonomy, taxonomy_document
from tasks.options import ComputeOptions, CorpusOptions
from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 2
SHARD_IMAGES = 128
THREADS = 4
PINNED = ("image_id", "digest", "label_digest")
"""Columns that make the index digest: equal ones mean equal images and labels."""


@dataclass(frozen=True)
class CorpusWork:
    """Reads, decodes and describes the images of one shard of the listing."""

    workspace: Workspace
    dump: str
    images: Storage
    labelling: Labelling
    max_pixels: int
    listed: int
    has_clips: bool = False
    every_page: bool = False
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    bands: tuple[int, ...] | None = None

    def steps(self) -> Sequence[Step]:
        """One step: images are read by threads, the table is written."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Describe one shard's images; every one is indexed or quarantined."""
        watch = Stopwatch()
        first, last = shard * SHARD_IMAGES, min((shard + 1) * SHARD_IMAGES, self.listed)
        folder = self.workspace.corpus(self.dump)
        rows = self._rows(folder, np.arange(first, last))
        room = Room(machine.budget(self.compute))
        with watch("read"), ContextThreadPool(THREADS) as pool:
            described = list(pool.map(lambda row: self._describe(row, room), rows))
        found = number_counts.by_form(e["tally"] for e in described if "tally" in e)
        documents, tensors = number_counts.packed(found)
        content = tables.write_tensors(folder.storage, values_file(folder, shard), tensors)
        good = [entry for entry in described if "reason" not in entry]
        refuse_problems([entry["problem"] for entry in good if "problem" in entry])
        bad = [{"path": e["path"], "reason": e["reason"]} for e in described if "reason" in e] + [
            {"path": e["label"], "reason": e["label_reason"]} for e in good if e.get("label_reason")
        ]
        for name, entries, kinds in (
            ("index", good, index_columns(self.has_clips, self.every_page)),
            ("quarantine", bad, QUARANTINE_COLUMNS),
        ):
            values = {column: [entry.get(column) for entry in entries] for column in kinds}
            tables.write_table(folder.storage, part_file(folder, name, shard), values, kinds)
        record = Record(
            shard,
            (first, last),
            sum(e["bytes"] for e in good),
            keys.digest(keys.canonical([[e[name] for name in PINNED] for e in good])),
            watch.seconds,
            results={
                "values": documents,
                "values_digest": keys.digest(content),
                "indexed": len(good),
                "labelled": sum(e["label_digest"] is not None for e in good),
                "pixels": sum(e["height"] * e["width"] for e in good),
                "largest": max((e["height"] * e["width"] for e in good), default=0),
                "quarantined": len(bad),
                "highest_label": max((e["highest_label"] for e in good), default=-1),
                "label_pixels": label_decoding.summed([e["label_pixels"] for e in good]),
                "bad_label": next((bad_label(e) for e in good if e.get("label_reason")), None),
                "unnamed_void": sum(e["unnamed_void"] for e in good),
                "further": further([e["further"] for e in good]),
            },
        )
        folder.record(record)
        return record

    def _rows(self, folder: Folder, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Rows of the listing, with what is drawn of them where the labels are COCO's."""
        found = tables.read_rows(folder.storage, f"{folder.path}/{LISTING}", rows)
        if self.labelling.coco:
            drawn = tables.read_rows(folder.storage, f"{folder.path}/{COCO}", rows)
            found = [{**row, **areas} for row, areas in zip(found, drawn, strict=True)]
        return found

    def _describe(self, row: dict[str, Any], room: Room) -> dict[str, Any]:
        """One image's entry: its size and digest, or the reason why it cannot be used."""
        source, path = self.images, row["path"]
        if row.get("clip") is not None:
            source, path = self.workspace.storage, video_files.frame_path(self.dump, path)
        try:
            content = read_file(source, path)
            shown = (
                content if row.get("page") is None else tiff_pages.page_file(content, row["page"])
            )
            with (
                room.for_decoding(path, shown, self.max_pixels),
                rendering.opened(shown, self.max_pixels, self.bands) as found,
            ):
                tally, (height, width) = number_counts.Tally.of(found), found.displayed
        except ImageError as error:
            return {"path": row["path"], "reason": str(error)}
        extra = {**CLIP_COLUMNS, **PAGE_COLUMNS}
        return {
            "image_id": row["image_id"],
            "path": row["path"],
            "height": height,
            "width": width,
            "tally": tally,
            "bytes": len(content),
            "digest": keys.digest(content),
            "further": {} if row.get("page") is not None else tiff_pages.further(path, content),
            **{name: row[name] for name in extra if name in row},
            **self.labelling.describe(row, (height, width), shown, room),
        }


def plan(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    like: str | None = None,
    compute: ComputeOptions | None = None,
    continuing: bool = False,
) -> Stage | None:
    """List the images and freeze the list; None if the dump is already complete.

    Labels that come without a taxonomy mean what those of the dump `like` mean. A dump that is
    `continuing` what the workspace holds has numbers that mean what they mean there.

    Raises:
        InputError: there are no images, the taxonomy cannot be used, or files of the finished
            dump changed since.
        WorkspaceError: the dump was made from somewhere else.
    """
    folder = workspace.corpus(dump)
    require_name(workspace, dump)
    source = Storage.at(options.images)
    taxonomy = load_taxonomy(options.taxonomy)
    if taxonomy is None and (options.labels or options.label_suffix) and like:
        taxonomy = IndexReader(workspace, like).stated_taxonomy()
    frames = video_files.frames(workspace, dump)
    every_page = options.pages == "all"
    pins = {
        **(
            {"frames": video_files.folder_of(workspace, dump).manifest()["digest"]}
            if frames
            else {}
        ),
        "images_uri": source.uri,
        "labels_uri": options.labels and Storage.at(options.labels).uri,
        "taxonomy": taxonomy_document(taxonomy),
        "max_pixels": options.max_pixels,
        "version": VERSION,
        **({"pages": options.pages} if every_page else {}),
        **options.suffixes(),
        **options.model_dump(include={"bands", "value_range"}, exclude_defaults=True),
    }
    begin(folder, dump, pins)
    if folder.finished:
        check_unchanged(workspace, dump)
        return None
    found = frozen(workspace, dump, options, taxonomy, frames)
    count = tables.row_count(folder.storage, f"{folder.path}/{LISTING}")
    before = values.before(workspace, dump) if continuing else []
    manifests = [workspace.corpus(name).manifest() for name in before]
    bands = parsed_bands(options.bands) or values.bands_of(manifests)
    work = CorpusWork(
        workspace,
        dump,
        found.images,
        Labelling(
            workspace,
            dump,
            found.labels,
            found.taxonomy,
            options.max_pixels,
            found.coco is not None,
        ),
        options.max_pixels,
        count,
        frames is not None,
        every_page,
        compute or ComputeOptions(),
        bands,
    )
    shards = -(-count // SHARD_IMAGES)
    manifest = {
        "stage": "corpus",
        "dump": dump,
        **pins,
        "values_before": before,
        **found.manifest(),
        **found.told.document(),
    }
    if bands is not None:
        manifest["bands"] = ",".join(map(str, bands))
    return Stage(folder, f"corpus {dump}", "images", count, shards, work, manifest)


def finish(workspace: Workspace, stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Join the shards' tables into the frozen index and write the manifest.

    Raises:
        InputError: no image can be used, or a class never occurs in the labels while 255 does.
            The dump can then be begun anew.
    """
    records = stage.folder.records(stage.shards)
    total = {
        name: sum(record.results[name] for record in records)
        for name in ("indexed", "labelled", "pixels", "quarantined")
    }
    try:
        require_labels(stage, records, total["labelled"])
    except InputError:
        stage.folder.clear()
        raise
    indexed = index_columns("frames" in stage.manifest, "pages" in stage.manifest)
    for name, kinds in (("index", indexed), ("quarantine", QUARANTINE_COLUMNS)):
        parts = [part_file(stage.folder, name, shard) for shard in range(stage.shards)]
        path = f"{stage.folder.path}/{name}.parquet"
        tables.join_tables(stage.folder.storage, parts, path, kinds)
    if not total["indexed"]:
        first = IndexReader(workspace, stage.manifest["dump"]).quarantine()[0]
        stage.folder.clear()
        raise InputError(
            f"none of the {stage.items} images can be used; the first: {first['path']}: "
            f"{first['reason']}; give readable images"
        )
    decided = decide(workspace, stage, records)
    checksums: list[Any] = [record.checksum for record in records]
    if (pictured := decided.pins()) is not None:
        checksums.append(pictured)
    index_digest = keys.digest(keys.canonical(checksums))
    told = LeftOutCounts.of(stage.manifest)
    for kind, found in further([r.results.get("further", {}) for r in records]).items():
        told.count(kind, found["count"], found["example"])
    told.remarks += alike(stage)
    return stage.finish(
        seconds,
        computed,
        **told.document(),
        index=index_digest,
        values=decided.document(),
        sequence=len(workspace.dumps()),
        images=total["indexed"],
        labelled=total["labelled"],
        quarantined=total["quarantined"],
        megapixels=round(total["pixels"] / 1e6, 3),
        largest=max(record.results["largest"] for record in records),
        highest_label=max(record.results["highest_label"] for record in records),
    )
