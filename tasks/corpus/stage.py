"""Stage corpus: a pile of images becomes a dump, a frozen index with its quarantine list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.images.value_range import parsed_bands
from tasks.corpus import findings
from tasks.corpus.changed_files import begin, check_unchanged, require_name
from tasks.corpus.frozen_list import freeze_list, taxonomy_of
from tasks.corpus.image_label import LabelSource
from tasks.corpus.index import PINNED, IndexReader
from tasks.corpus.listing import (
    CLIP_COLUMNS,
    PAGE_COLUMNS,
    QUARANTINE_COLUMNS,
    index_columns,
    read_file,
)
from tasks.engine import machine
from tasks.engine.stage import RecordSums, Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.files import tiff_pages, video_files
from tasks.files.left_out import LeftOutCounts
from tasks.images import number_counts, number_meaning, rendering
from tasks.images.decoding_memory import MemoryBudget
from tasks.labels.label_decoding import sum_pixels
from tasks.labels.taxonomies import taxonomy_document
from tasks.options import ComputeOptions, CorpusOptions
from tasks.sources.member_rows import MEMBER_COLUMNS
from tasks.sources.reading import Blocks, MemberReader, runs
from tasks.storage.http_client import HostError
from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace import keys, layout, tables
from tasks.workspace.arrays import shard_count
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 2
SHARD_IMAGES = 128  # images of one shard
THREADS = 4  # images of a shard that are read at the same time
FURTHER_COLUMNS = (*CLIP_COLUMNS, *PAGE_COLUMNS, *MEMBER_COLUMNS)
Entry = dict[str, Any]


@dataclass(frozen=True)
class CorpusWork(CpuWork):
    """Reads, decodes and describes the images of one shard of the listing."""

    workspace: Workspace
    dump: str
    images: Storage
    members: MemberReader | None  # of archives or lists; None where images are files
    labels: LabelSource
    max_pixels: int
    listed: int
    columns: Mapping[str, str]  # of the index
    compute: ComputeOptions
    bands: tuple[int, ...] | None

    def shard(self, shard: int) -> Record:
        """Describe one shard's images; every one is indexed or quarantined."""
        watch = Stopwatch()
        first, last = shard * SHARD_IMAGES, min((shard + 1) * SHARD_IMAGES, self.listed)
        folder = self.workspace.corpus(self.dump)
        memory = MemoryBudget(machine.budget(self.compute))
        with watch("read"), ContextThreadPool(THREADS) as pool:
            rows = self._rows(folder, np.arange(first, last))
            parts = runs(rows) if self.members else ([row] for row in rows)
            described = pool.map(lambda run: self._describe_all(run, memory), parts)
            entries = [entry for part in described for entry in part]
        indexed = [entry for entry in entries if "reason" not in entry]
        findings.refuse_problems([entry["problem"] for entry in indexed if "problem" in entry])
        counts = number_counts.by_form(entry["counts"] for entry in indexed)
        values, tensors = number_counts.pack(counts)
        content = tables.write_tensors(folder.storage, findings.values_file(folder, shard), tensors)
        quarantine = [entry for entry in entries if "reason" in entry] + [
            {"path": entry["label"], "reason": entry["label_reason"]}
            for entry in indexed
            if entry.get("label_reason")
        ]
        for name, part, columns in (
            ("index", indexed, self.columns),
            ("quarantine", quarantine, QUARANTINE_COLUMNS),
        ):
            table = {column: [entry.get(column) for entry in part] for column in columns}
            tables.write_table(
                folder.storage, findings.part_file(folder, name, shard), table, columns
            )
        record = Record(
            shard,
            (first, last),
            sum(entry["bytes"] for entry in indexed),
            keys.digest(keys.canonical([[entry[name] for name in PINNED] for entry in indexed])),
            watch.seconds,
            results={
                "values": values,
                "values_digest": keys.digest(content),
                "quarantined": len(quarantine),
                **_sums(indexed),
            },
        )
        folder.record(record)
        return record

    def _rows(self, folder: Folder, rows: NDArray[np.int64]) -> list[Entry]:
        """Rows of the listing, with their annotated areas where the labels are COCO's."""
        path = f"{folder.path}/{layout.LISTING_FILE}"
        listing = tables.read_rows(folder.storage, path, rows)
        if not self.labels.coco:
            return listing
        areas = tables.read_rows(folder.storage, f"{folder.path}/{layout.COCO_FILE}", rows)
        return [row | row_areas for row, row_areas in zip(listing, areas, strict=True)]

    def _describe_all(self, run: Sequence[Entry], memory: MemoryBudget) -> list[Entry]:
        blocks = self.members.blocks(run) if self.members else (None, None)
        return [self._describe(row, memory, blocks) for row in run]

    def _describe(self, row: Entry, memory: MemoryBudget, blocks: Blocks) -> Entry:
        """One image's entry: its size and digest, or the reason why it cannot be used."""
        root, path, page, members = self.images, row["path"], row.get("page"), self.members
        if row.get("clip") is not None:
            root, path = self.workspace.storage, layout.frame(self.dump, path)
        try:
            content = members.read(row, block=blocks[0]) if members else read_file(root, path)
            image = content if page is None else tiff_pages.page_file(content, page)
            with (
                memory.for_decoding(path, image, self.max_pixels),
                rendering.opened(image, self.max_pixels, self.bands) as source,
            ):
                counts, size = number_counts.NumberCounts.of(source), source.displayed
        except (ImageError, HostError) as error:
            return {"path": row["path"], "reason": str(error)}
        return {
            "image_id": row["image_id"],
            "path": row["path"],
            "height": size.height,
            "width": size.width,
            "counts": counts,
            "bytes": len(content),
            "digest": keys.digest(content),
            "unused_pages": tiff_pages.unused_pages(path, content) if page is None else {},
            **{name: row[name] for name in FURTHER_COLUMNS if name in row},
            **self.labels.describe(row, size, image, memory, blocks[1]),
        }


def _sums(entries: Sequence[Entry]) -> dict[str, Any]:
    """What a record keeps of the entries of its shard."""
    pixels = [entry["height"] * entry["width"] for entry in entries]
    bad_labels = (
        findings.unreadable_label(entry) for entry in entries if entry.get("label_reason")
    )
    return {
        "indexed": len(entries),
        "labelled": sum(entry["label_digest"] is not None for entry in entries),
        "pixels": sum(pixels),
        "largest": max(pixels, default=0),
        "highest_label": max((entry["highest_label"] for entry in entries), default=-1),
        "label_pixels": sum_pixels([entry["label_pixels"] for entry in entries]),
        "bad_label": next(bad_labels, None),
        "unnamed_void": sum(entry["unnamed_void"] for entry in entries),
        "further": findings.sum_unused_pages([entry["unused_pages"] for entry in entries]),
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

    Labels without a taxonomy mean what those of the dump `like` mean, numbers of a dump that is
    `continuing` the workspace what those of its other dumps mean.

    Raises:
        InputError: there are no images, the taxonomy cannot be used, or files of the finished
            dump changed since.
        WorkspaceError: the dump was made from somewhere else.
    """
    folder = workspace.corpus(dump)
    require_name(workspace, dump)
    taxonomy = taxonomy_of(workspace, options, like)
    frames = video_files.frame_rows(workspace, dump)
    pins = {
        "images_uri": Storage.at(options.images).uri,
        "labels_uri": options.labels and Storage.at(options.labels).uri,
        "taxonomy": taxonomy_document(taxonomy),
        "max_pixels": options.max_pixels,
        "version": VERSION,
        **options.suffixes(),
        **options.list_options(),
        **options.model_dump(include={"bands", "value_range", "pages"}, exclude_defaults=True),
    }
    if frames is not None:
        pins["frames"] = workspace.folder(layout.FRAMES, dump).manifest()["digest"]
    begin(folder, dump, pins)
    if folder.finished:
        check_unchanged(workspace, dump)
        return None
    frozen = freeze_list(workspace, dump, options, taxonomy, frames)
    count = tables.row_count(folder.storage, f"{folder.path}/{layout.LISTING_FILE}")
    earlier = number_meaning.earlier_dumps(workspace, dump) if continuing else []
    manifests = [workspace.corpus(name).manifest() for name in earlier]
    bands = parsed_bands(options.bands) or number_meaning.bands_of(manifests)
    manifest = {"stage": "corpus", "dump": dump, **pins, "values_before": earlier}
    manifest |= frozen.manifest()
    coco, pixels = frozen.coco is not None, options.max_pixels
    work = CorpusWork(
        workspace,
        dump,
        frozen.images,
        frozen.members,
        LabelSource(workspace, dump, frozen.labels, frozen.taxonomy, pixels, coco, frozen.members),
        pixels,
        count,
        index_columns(manifest),
        compute or ComputeOptions(),
        bands,
    )
    if bands is not None:
        manifest["bands"] = ",".join(map(str, bands))
    shards = shard_count(count, SHARD_IMAGES)
    return Stage(folder, f"corpus {dump}", "images", count, shards, work, manifest)


def finish(workspace: Workspace, stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Join the shards' tables into the frozen index and write the manifest.

    Raises:
        InputError: no image can be used, or a class never occurs in the labels while 255 does.
            The dump can then be begun anew.
    """
    of_records = RecordSums()
    records = list(of_records.added(stage.records()))
    results = [record.results for record in records]
    total = {
        name: sum(result[name] for result in results)
        for name in ("indexed", "labelled", "pixels", "quarantined")
    }
    try:
        findings.require_labels(stage, records, total["labelled"])
        _join_tables(stage)
        if not total["indexed"]:
            first = IndexReader(workspace, stage.manifest["dump"]).quarantine()[0]
            raise InputError(
                f"none of the {stage.items} images can be used; the first: {first['path']}: "
                f"{first['reason']}; give readable images"
            )
    except InputError:
        stage.folder.clear()
        raise
    meaning = findings.decide_meaning(workspace, stage, records)
    checksums: list[Any] = [record.checksum for record in records]
    if (pins := meaning.pins()) is not None:
        checksums.append(pins)
    return stage.finish(
        seconds,
        computed,
        of_records,
        **_left_out(stage, results).document(),
        index=keys.digest(keys.canonical(checksums)),
        values=meaning.document(),
        sequence=len(workspace.dumps()),
        images=total["indexed"],
        labelled=total["labelled"],
        quarantined=total["quarantined"],
        megapixels=round(total["pixels"] / 1e6, 3),
        largest=max(result["largest"] for result in results),
        highest_label=max(result["highest_label"] for result in results),
    )


def _join_tables(stage: Stage) -> None:
    for name, file, columns in (
        ("index", layout.INDEX_FILE, index_columns(stage.manifest)),
        ("quarantine", layout.QUARANTINE_FILE, QUARANTINE_COLUMNS),
    ):
        parts = [findings.part_file(stage.folder, name, shard) for shard in range(stage.shards)]
        tables.join_tables(stage.folder.storage, parts, f"{stage.folder.path}/{file}", columns)


def _left_out(stage: Stage, results: Sequence[Mapping[str, Any]]) -> LeftOutCounts:
    """What the listing left out, with unused pages and a remark on copies."""
    left_out = LeftOutCounts.of(stage.manifest)
    unused = findings.sum_unused_pages([result.get("further", {}) for result in results])
    for kind, pages in unused.items():
        left_out.add_count(kind, pages["count"], pages["example"])
    left_out.remarks += findings.remark_on_copies(stage)
    return left_out
