"""Stage corpus: a pile of images becomes a dump, a frozen index with its quarantine list."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError, InputError, WorkspaceError
from stego_core.taxonomy import Taxonomy
from stego_core.valuerange import parsed_bands
from tasks import clips, cocolabels, images, labels, machine, pages, rendering, tallies, values
from tasks.frozen import COCO, frozen
from tasks.index import IndexReader, drawn_label
from tasks.labels import Tally
from tasks.leftout import Told
from tasks.listing import CLIP_COLUMNS, LISTING, PAGE_COLUMNS, read_file
from tasks.log import Log
from tasks.options import ComputeOptions, CorpusOptions, ReadOptions
from tasks.room import Room
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.taxonomies import load_taxonomy, taxonomy_document
from tasks.unchanged import begin, check_unchanged, require_name
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
    every_page: bool = False
    coco: bool = False
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
                "label_pixels": labels.summed([e["label_pixels"] for e in good]),
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
        if self.coco:
            drawn = tables.read_rows(folder.storage, f"{folder.path}/{COCO}", rows)
            found = [{**row, **areas} for row, areas in zip(found, drawn, strict=True)]
        return found

    def _describe(self, row: dict[str, Any], room: Room) -> dict[str, Any]:
        """One image's entry: its size and digest, or the reason why it cannot be used."""
        source, path = self.images, row["path"]
        if row.get("clip") is not None:
            source, path = self.workspace.storage, clips.frame_path(self.dump, path)
        try:
            content = read_file(source, path)
            shown = content if row.get("page") is None else pages.page_file(content, row["page"])
            with (
                room.for_decoding(path, shown, self.max_pixels),
                rendering.opened(shown, self.max_pixels, self.bands) as found,
            ):
                tally, (height, width) = tallies.Tally.of(found), found.displayed
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
            "further": {} if row.get("page") is not None else pages.further(path, content),
            **{name: row[name] for name in extra if name in row},
            **self._describe_label(row, (height, width), shown, room),
        }

    def _describe_label(
        self, row: dict[str, Any], size: tuple[int, int], image: bytes, room: Room
    ) -> dict[str, Any]:
        """The label's entry: an unreadable one is quarantined, a wrong one is a problem."""
        entry: dict[str, Any] = {
            "label": None,
            "label_digest": None,
            "highest_label": -1,
            "label_pixels": [],
            "unnamed_void": 0,
        }
        if row["label"] is None or self.labels is None:
            return entry
        try:
            content = self._label(row, size)
            page = None if self.coco else row.get("page")
            with room.for_decoding(row["label"], content, self.max_pixels):
                ids, unnamed = labels.ids_and_unnamed(
                    content, self.max_pixels, self.meaning(), page
                )
        except ImageError as error:
            return {**entry, "label": row["label"], "label_reason": f"label: {error}"}
        except InputError as error:
            return {**entry, "problem": f"{row['label']}: {error}"}
        if ids.shape != size:
            return {**entry, "problem": f"{row['label']} {labels.misfit(ids.shape, size, image)}"}
        return {
            **entry,
            "label": row["label"],
            "label_digest": keys.digest(content),
            "highest_label": int(ids.max()),
            "label_pixels": labels.counted(ids),
            "unnamed_void": unnamed,
        }

    def meaning(self) -> Taxonomy | None:
        """What the values in label files mean; COCO's are drawn as class ids."""
        if self.coco and self.taxonomy:
            return self.taxonomy.drawn()
        return self.taxonomy

    def _label(self, row: dict[str, Any], size: tuple[int, int]) -> bytes:
        """The bytes of a label file; one that is drawn is also kept in the workspace."""
        if not self.coco:
            assert self.labels is not None  # an image has a label only where there are some
            return read_file(self.labels, row["label"])
        mask = Image.fromarray(cocolabels.draw(row["areas"], size))
        content = images.encode_png(mask)
        self.workspace.storage.write(drawn_label(self.dump, row["image_id"]), content)
        return content


def bad_label(entry: dict[str, Any]) -> dict[str, str]:
    """A label that cannot be read, for a sentence."""
    reason = entry["label_reason"].removeprefix("label: ").removeprefix("label ")
    return {"label": entry["label"], "path": entry["path"], "reason": reason}


def refuse_problems(problems: Sequence[str]) -> None:
    """Labels that do not fit stop the run before any work is spent on them.

    Raises:
        InputError: there is a problem. The shard stays unrecorded, so that mended labels are
            read again.
    """
    if problems:
        raise InputError(
            f"{len(problems)} labels do not fit, the first: {problems[0]}; mend them or leave "
            "out --labels"
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
    require_name(workspace, dump)
    source = Storage.at(options.images)
    taxonomy = load_taxonomy(options.taxonomy)
    if taxonomy is None and (options.labels or options.label_suffix) and like:
        taxonomy = IndexReader(workspace, like).stated_taxonomy()
    frames = clips.frames(workspace, dump)
    every_page = options.pages == "all"
    pins = {
        **({"frames": clips.folder_of(workspace, dump).manifest()["digest"]} if frames else {}),
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
        found.labels,
        found.taxonomy,
        options.max_pixels,
        count,
        frames is not None,
        every_page,
        found.coco is not None,
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
    told = Told.of(stage.manifest)
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


def require_labels(stage: Stage, records: Sequence[Record], labelled: int) -> None:
    """Refuse labels none of which can be read, or whose 255 may stand for a class.

    Raises:
        InputError: they are such.
    """
    first = next((r.results["bad_label"] for r in records if r.results.get("bad_label")), None)
    if first and not labelled:
        raise InputError(
            f"none of the labels can be used; the first: label {first['label']} of image "
            f"{first['path']}: {first['reason']}"
        )
    taxonomy = stage.manifest["taxonomy"]
    if not stage.manifest["coco"]:
        tally = Tally.total([record.results for record in records])
        labels.require_every_class(tally, Taxonomy.parse(taxonomy) if taxonomy else None)


def alike(stage: Stage) -> list[str]:
    """What to say of images whose files are the same, byte for byte."""
    seen: set[int] = set()
    copies, example = 0, ""
    wanted = ["path", "digest", *(PAGE_COLUMNS if "pages" in stage.manifest else {})]
    place = f"{stage.folder.path}/index.parquet"
    for row in tables.stream_rows(stage.folder.storage, place, wanted):
        mark = hash((row["digest"], row.get("page")))
        if mark in seen:
            copies, example = copies + 1, example or row["path"]
        seen.add(mark)
    if not copies:
        return []
    if len(seen) == 1:
        return [
            f"all {copies + 1:,} images are alike: their files are the same, byte for byte, so "
            "there is nothing to tell apart but what is in one of them"
        ]
    return [f"{copies:,} images are copies of others, byte for byte (for example {example})"]


def further(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Further pages and frames of some files, by kind: how many, and one file that has them."""
    total: dict[str, Any] = {}
    for part in found:
        for kind, each in part.items():
            known = total.setdefault(kind, {"count": 0, "example": each["example"]})
            known["count"] += each["count"]
    return total


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


def index_columns(has_clips: bool, every_page: bool = False) -> dict[str, str]:
    """Names and types of the index's columns."""
    return {
        **INDEX_COLUMNS,
        **(CLIP_COLUMNS if has_clips else {}),
        **(PAGE_COLUMNS if every_page else {}),
    }


def values_file(folder: Folder, shard: int) -> str:
    """Where the counts of one shard's numbers lie."""
    return f"{folder.path}/parts/values-{shard:06d}.safetensors"


def part_file(folder: Folder, name: str, shard: int) -> str:
    """Where one shard's part of the index or the quarantine lies."""
    return f"{folder.path}/parts/{name}-{shard:06d}.parquet"
