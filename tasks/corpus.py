"""Stage corpus: a pile of images becomes a dump, a frozen index with its quarantine list."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stego_core.errors import ImageError, InputError
from stego_core.taxonomy import Taxonomy
from tasks import clips, images, machine
from tasks.index import IndexReader
from tasks.listing import (
    CLIP_COLUMNS,
    LISTING,
    check_unchanged,
    columns,
    listed,
    load_taxonomy,
    read_file,
    taxonomy_document,
)
from tasks.options import ComputeOptions, CorpusOptions
from tasks.room import Room
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace

VERSION = 2
SHARD_IMAGES = 128
THREADS = 4
INDEX_COLUMNS = {
    "image_id": "string",
    "path": "string",
    "height": "int32",
    "width": "int32",
    "bytes": "int64",
    "digest": "string",
    "label": "string",
    "label_digest": "string",
}
QUARANTINE_COLUMNS = {"path": "string", "reason": "string"}
PINNED = ("image_id", "digest", "label_digest")
"""Columns that make the index digest: equal ones mean equal images and labels."""


@dataclass(frozen=True)
class CorpusWork:
    """Reads, decodes and describes the images of one shard of the listing."""

    workspace: Workspace
    dump: str
    images: Storage
    labels: Storage | None
    taxonomy: Taxonomy | None
    max_pixels: int
    listed: int
    has_clips: bool = False
    compute: ComputeOptions = field(default_factory=ComputeOptions)

    def steps(self) -> Sequence[Step]:
        """One step: images are read by threads, the table is written."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Describe one shard's images; every one is indexed or quarantined."""
        watch = Stopwatch()
        first, last = shard * SHARD_IMAGES, min((shard + 1) * SHARD_IMAGES, self.listed)
        folder = self.workspace.corpus(self.dump)
        rows = tables.read_rows(folder.storage, f"{folder.path}/{LISTING}", np.arange(first, last))
        room = Room(machine.budget(self.compute))
        with watch("read"), ThreadPoolExecutor(THREADS) as pool:
            described = list(pool.map(lambda row: self._describe(row, room), rows))
        good = [entry for entry in described if "reason" not in entry]
        refuse_problems([entry["problem"] for entry in good if "problem" in entry])
        bad = [{"path": e["path"], "reason": e["reason"]} for e in described if "reason" in e] + [
            {"path": e["label"], "reason": e["label_reason"]} for e in good if e.get("label_reason")
        ]
        for name, entries, kinds in (
            ("index", good, index_columns(self.has_clips)),
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
                "indexed": len(good),
                "labelled": sum(e["label_digest"] is not None for e in good),
                "pixels": sum(e["height"] * e["width"] for e in good),
                "largest": max((e["height"] * e["width"] for e in good), default=0),
                "quarantined": len(bad),
                "highest_label": max((e["highest_label"] for e in good), default=-1),
            },
        )
        folder.record(record)
        return record

    def _describe(self, row: dict[str, Any], room: Room) -> dict[str, Any]:
        """One image's entry: its size and digest, or the reason why it cannot be used."""
        source, path = self.images, row["path"]
        if row.get("clip") is not None:
            source, path = self.workspace.storage, clips.frame_path(self.dump, path)
        try:
            content = read_file(source, path)
            with room.for_decoding(path, content, self.max_pixels):
                height, width = images.decode(content, self.max_pixels).shape[:2]
        except ImageError as error:
            return {"path": row["path"], "reason": str(error)}
        return {
            "image_id": row["image_id"],
            "path": row["path"],
            "height": height,
            "width": width,
            "bytes": len(content),
            "digest": keys.digest(content),
            **{name: row[name] for name in CLIP_COLUMNS if name in row},
            **self._describe_label(row, (height, width), room),
        }

    def _describe_label(
        self, row: dict[str, Any], size: tuple[int, int], room: Room
    ) -> dict[str, Any]:
        """The label's entry: an unreadable one is quarantined, a wrong one is a problem."""
        entry: dict[str, Any] = {"label": None, "label_digest": None, "highest_label": -1}
        if row["label"] is None or self.labels is None:
            return entry
        try:
            content = read_file(self.labels, row["label"])
            with room.for_decoding(row["label"], content, self.max_pixels):
                stored = images.decode_labels(content, self.max_pixels)
        except ImageError as error:
            return {**entry, "label": row["label"], "label_reason": f"label: {error}"}
        entry = {**entry, "label": row["label"], "label_digest": keys.digest(content)}
        if stored.shape != size:
            found, expected = (f"{h}×{w}" for h, w in (stored.shape, size))
            return {**entry, "problem": f"{row['label']} is {found}, its image {expected}"}
        try:
            ids = (self.taxonomy or Taxonomy.numbered(255)).apply(stored)
        except InputError as error:
            return {**entry, "problem": f"{row['label']}: {error}"}
        return {**entry, "highest_label": int(ids.max())}


def refuse_problems(problems: Sequence[str]) -> None:
    """Labels that do not fit stop the run before any work is spent on them.

    Raises:
        InputError: there is a problem. The shard stays unrecorded, so that mended labels are
            read again.
    """
    if problems:
        raise InputError(
            f"{len(problems)} labels do not fit, the first: {problems[0]}; mend them or leave "
            "out --labels (then with another --dump)"
        )


def plan(
    workspace: Workspace,
    dump: str,
    options: CorpusOptions,
    like: str | None = None,
    compute: ComputeOptions | None = None,
) -> Stage | None:
    """List the images and freeze the list; None if the dump is already complete.

    Labels that come without a taxonomy mean what those of the dump `like` mean.

    Raises:
        InputError: there are no images, the taxonomy cannot be used, or files of the finished
            dump changed since.
        WorkspaceError: the dump was made from somewhere else.
    """
    folder = workspace.corpus(dump)
    source = Storage.at(options.images)
    taxonomy = load_taxonomy(options.taxonomy)
    if taxonomy is None and options.labels and like:
        taxonomy = IndexReader(workspace, like).stated_taxonomy()
    frames = clips.frames(workspace, dump)
    pins = {
        **({"frames": clips.folder_of(workspace, dump).manifest()["digest"]} if frames else {}),
        "images_uri": source.uri,
        "labels_uri": options.labels and Storage.at(options.labels).uri,
        "taxonomy": taxonomy_document(taxonomy),
        "max_pixels": options.max_pixels,
        "version": VERSION,
    }
    folder.plan(pins)
    if folder.finished:
        check_unchanged(workspace, dump)
        return None
    if not folder.storage.exists(f"{folder.path}/{LISTING}"):
        labels = Storage.at(options.labels) if options.labels else None
        listing, kinds = listed(source, labels, frames), columns(frames is not None)
        tables.write_table(folder.storage, f"{folder.path}/{LISTING}", listing, kinds)
    count = tables.row_count(folder.storage, f"{folder.path}/{LISTING}")
    work = CorpusWork(
        workspace,
        dump,
        source,
        Storage.at(options.labels) if options.labels else None,
        taxonomy,
        options.max_pixels,
        count,
        frames is not None,
        compute or ComputeOptions(),
    )
    shards = -(-count // SHARD_IMAGES)
    manifest = {"stage": "corpus", "dump": dump, **pins}
    return Stage(folder, f"corpus {dump}", "images", count, shards, work, manifest)


def finish(workspace: Workspace, stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Join the shards' tables into the frozen index and write the manifest.

    Raises:
        InputError: no image can be used.
    """
    records = stage.folder.records(stage.shards)
    total = {
        name: sum(record.results[name] for record in records)
        for name in ("indexed", "labelled", "pixels", "quarantined")
    }
    indexed = index_columns("frames" in stage.manifest)
    for name, kinds in (("index", indexed), ("quarantine", QUARANTINE_COLUMNS)):
        parts = [part_file(stage.folder, name, shard) for shard in range(stage.shards)]
        path = f"{stage.folder.path}/{name}.parquet"
        tables.join_tables(stage.folder.storage, parts, path, kinds)
    if not total["indexed"]:
        first = IndexReader(workspace, stage.manifest["dump"]).quarantine()[0]
        raise InputError(
            f"none of the {stage.items} images can be used; the first: {first['path']}: "
            f"{first['reason']}; give readable images as another --dump"
        )
    index_digest = keys.digest(keys.canonical([record.checksum for record in records]))
    return stage.finish(
        seconds,
        computed,
        index=index_digest,
        sequence=len(workspace.dumps()),
        images=total["indexed"],
        labelled=total["labelled"],
        quarantined=total["quarantined"],
        megapixels=round(total["pixels"] / 1e6, 3),
        largest=max(record.results["largest"] for record in records),
        highest_label=max(record.results["highest_label"] for record in records),
    )


def index_columns(has_clips: bool) -> dict[str, str]:
    """Names and types of the index's columns."""
    return {**INDEX_COLUMNS, **(CLIP_COLUMNS if has_clips else {})}


def part_file(folder: Folder, name: str, shard: int) -> str:
    """Where one shard's part of the index or the quarantine lies."""
    return f"{folder.path}/parts/{name}-{shard:06d}.parquet"
