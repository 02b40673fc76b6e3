"""Stage corpus: a pile of images becomes a dump, a frozen index with its quarantine list."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stego_core.errors import ImageError, InputError, WorkspaceError
from stego_core.taxonomy import Taxonomy
from stego_core.valuerange import parsed_bands
from tasks import clips, images, machine, rendering, tallies, values
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
from tasks.log import Log
from tasks.options import ComputeOptions, CorpusOptions, ReadOptions
from tasks.room import Room
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace

log = Log(__name__)

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
    bands: tuple[int, ...] | None = None

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
        found = tallies.by_form(e["tally"] for e in described if "tally" in e)
        documents, tensors = tallies.packed(found)
        content = tables.write_tensors(folder.storage, values_file(folder, shard), tensors)
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
                "values": documents,
                "values_digest": keys.digest(content),
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
            with (
                room.for_decoding(path, content, self.max_pixels),
                rendering.opened(content, self.max_pixels, self.bands) as found,
            ):
                tally, (height, width) = tallies.Tally.of(found), found.displayed
        except ImageError as error:
            return {"path": row["path"], "reason": str(error)}
        return {
            "image_id": row["image_id"],
            "path": row["path"],
            "height": height,
            "width": width,
            "tally": tally,
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
        **options.model_dump(include={"bands", "value_range"}, exclude_defaults=True),
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
    before = values.before(workspace, dump) if continuing else []
    manifests = [workspace.corpus(name).manifest() for name in before]
    bands = parsed_bands(options.bands) or values.bands_of(manifests)
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
        bands,
    )
    shards = -(-count // SHARD_IMAGES)
    manifest = {"stage": "corpus", "dump": dump, **pins, "values_before": before}
    if bands is not None:
        manifest["bands"] = ",".join(map(str, bands))
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
    decided = decide(workspace, stage, records)
    checksums: list[Any] = [record.checksum for record in records]
    if (pictured := decided.pins()) is not None:
        checksums.append(pictured)
    index_digest = keys.digest(keys.canonical(checksums))
    return stage.finish(
        seconds,
        computed,
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


def decide(workspace: Workspace, stage: Stage, records: Sequence[Record]) -> values.Decided:
    """What the numbers of a dump's files mean, and tell of it.

    Raises:
        WorkspaceError: an earlier version began to index it.
    """
    found: list[tallies.Tally] = []
    for record in records:
        if "values" not in record.results:
            raise WorkspaceError(
                f"{stage.folder.path} was begun by an earlier version; remove that folder and run "
                "the same command again"
            )
        path = values_file(stage.folder, record.shard)
        tensors = tables.read_tensors(stage.folder.storage, path)
        found = tallies.by_form([*found, *tallies.unpacked(record.results["values"], tensors)])
    before = [
        each
        for dump in stage.manifest["values_before"]
        for each in values.renderings(workspace.corpus(dump).manifest())
    ]
    options = {name: stage.manifest.get(name) for name in ("bands", "value_range")}
    given = {name: value for name, value in options.items() if value is not None}
    decided = values.decided(found, ReadOptions(**given), before)
    for line in decided.told:
        log.info("values", dump=stage.manifest["dump"], told=line)
    for line in decided.warnings:
        log.warning(line, dump=stage.manifest["dump"])
    return decided


def index_columns(has_clips: bool) -> dict[str, str]:
    """Names and types of the index's columns."""
    return {**INDEX_COLUMNS, **(CLIP_COLUMNS if has_clips else {})}


def values_file(folder: Folder, shard: int) -> str:
    """Where the counts of one shard's numbers lie."""
    return f"{folder.path}/parts/values-{shard:06d}.safetensors"


def part_file(folder: Folder, name: str, shard: int) -> str:
    """Where one shard's part of the index or the quarantine lies."""
    return f"{folder.path}/parts/{name}-{shard:06d}.parquet"
