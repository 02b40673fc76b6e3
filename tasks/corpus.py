"""Stage corpus: a pile of images becomes a dump, a frozen index with its quarantine list."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from stego_core.errors import ImageError, InputError
from stego_core.taxonomy import Taxonomy
from tasks import images
from tasks.compute import Step
from tasks.options import CorpusOptions
from tasks.stage import Stage, Stopwatch
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace

VERSION = 1
SHARD_IMAGES = 128
THREADS = 4
LISTING = "listing.parquet"
LISTING_SCHEMA = pa.schema(
    [("path", pa.string()), ("image_id", pa.string()), ("label", pa.string())]
)
INDEX_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("bytes", pa.int64()),
        ("digest", pa.string()),
        ("label", pa.string()),
        ("label_digest", pa.string()),
    ]
)
PINNED = ("image_id", "digest", "label_digest")
"""Columns that make the index digest: equal ones mean equal images and labels."""
QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string())])


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

    def steps(self) -> Sequence[Step]:
        """One step: images are read by threads, the table is written."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Describe one shard's images; every one is indexed or quarantined."""
        watch = Stopwatch()
        first, last = shard * SHARD_IMAGES, min((shard + 1) * SHARD_IMAGES, self.listed)
        folder = self.workspace.corpus(self.dump)
        rows = tables.read_rows(folder.storage, f"{folder.path}/{LISTING}", np.arange(first, last))
        with watch("read"), ThreadPoolExecutor(THREADS) as pool:
            described = list(pool.map(self._describe, rows))
        good = [entry for entry in described if "reason" not in entry]
        refuse_problems([entry["problem"] for entry in good if "problem" in entry])
        bad = [{"path": e["path"], "reason": e["reason"]} for e in described if "reason" in e] + [
            {"path": e["label"], "reason": e["label_reason"]} for e in good if e.get("label_reason")
        ]
        for name, entries, schema in (
            ("index", good, INDEX_SCHEMA),
            ("quarantine", bad, QUARANTINE_SCHEMA),
        ):
            columns = {n: [entry.get(n) for entry in entries] for n in schema.names}
            path = f"{folder.path}/parts/{name}-{shard:06d}.parquet"
            tables.write_table(folder.storage, path, columns, schema)
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
                "quarantined": len(bad),
                "highest_label": max((e["highest_label"] for e in good), default=-1),
            },
        )
        folder.record(record)
        return record

    def _describe(self, row: dict[str, Any]) -> dict[str, Any]:
        """One image's entry: its size and digest, or the reason why it cannot be used."""
        try:
            content = read_file(self.images, row["path"])
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
            **self._describe_label(row, (height, width)),
        }

    def _describe_label(self, row: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """The label's entry: an unreadable one is quarantined, a wrong one is a problem."""
        entry: dict[str, Any] = {"label": None, "label_digest": None, "highest_label": -1}
        if row["label"] is None or self.labels is None:
            return entry
        try:
            content = read_file(self.labels, row["label"])
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


def read_file(storage: Storage, path: str) -> bytes:
    """A user's file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return storage.read(path)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def default_dump(images_uri: str) -> str:
    """The dump's name where none is given: the last part of where the images lie."""
    name = PurePosixPath(images_uri.rstrip("/")).name
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).lstrip(".-")
    return cleaned[:100] or "images"


def plan(workspace: Workspace, dump: str, options: CorpusOptions) -> Stage | None:
    """List the images and freeze the list; None if the dump is already complete.

    Raises:
        InputError: there are no images, or the taxonomy cannot be used.
        WorkspaceError: the dump was made from somewhere else.
    """
    folder = workspace.corpus(dump)
    source = Storage.at(options.images)
    taxonomy = load_taxonomy(options.taxonomy)
    pins = {
        "images_uri": source.uri,
        "labels_uri": options.labels and Storage.at(options.labels).uri,
        "taxonomy": taxonomy_document(taxonomy),
        "max_pixels": options.max_pixels,
        "version": VERSION,
    }
    folder.plan(pins)
    if folder.finished:
        return None
    if not folder.storage.exists(f"{folder.path}/{LISTING}"):
        listing = listed(source, Storage.at(options.labels) if options.labels else None)
        tables.write_table(folder.storage, f"{folder.path}/{LISTING}", listing, LISTING_SCHEMA)
    count = tables.row_count(folder.storage, f"{folder.path}/{LISTING}")
    work = CorpusWork(
        workspace,
        dump,
        source,
        Storage.at(options.labels) if options.labels else None,
        taxonomy,
        options.max_pixels,
        count,
    )
    shards = -(-count // SHARD_IMAGES)
    return Stage(
        folder, f"corpus {dump}", "images", count, shards, work, {"stage": "corpus", **pins}
    )


def listed(source: Storage, labels: Storage | None) -> dict[str, list[str | None]]:
    """Columns of the listing: every image file, its id, and its label where there is one.

    The id is the relative path without extension; images that differ in the extension only
    keep it, so that ids stay unique.

    Raises:
        InputError: no image is found.
    """
    found = [path for path, _ in source.files() if is_image(path)]
    if not found:
        known = " ".join(sorted(images.EXTENSIONS))
        raise InputError(f"no images under {source.uri}; expected files ending in {known}")
    stems = [stem(path) for path in found]
    seen: dict[str, int] = {}
    for name in stems:
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
    ids = [
        path if seen[name.casefold()] > 1 else name for path, name in zip(found, stems, strict=True)
    ]
    by_stem: dict[str, str] = {}
    if labels is not None:
        by_stem = {stem(path): path for path, _ in labels.files() if is_image(path)}
        if not any(name in by_stem for name in stems):
            raise InputError(
                f"none of the {len(found)} images under {source.uri} has a label under "
                f"{labels.uri}; a label has the same relative path and stem as its image"
            )
    return {"path": list(found), "image_id": list(ids), "label": [by_stem.get(s) for s in stems]}


def is_image(path: str) -> bool:
    """Whether the file's ending is an image's, and it is not hidden."""
    name = PurePosixPath(path)
    return name.suffix.lower() in images.EXTENSIONS and not name.name.startswith(".")


def stem(path: str) -> str:
    """The path without its extension."""
    return str(PurePosixPath(path).with_suffix(""))


def load_taxonomy(location: str | None) -> Taxonomy | None:
    """The taxonomy at a path or URI.

    Raises:
        InputError: it cannot be read or understood.
    """
    if location is None:
        return None
    folder, _, name = Storage.at(location).uri.rpartition("/")
    try:
        return Taxonomy.parse(json.loads(Storage(folder).read(name)))
    except FileNotFoundError:
        raise InputError(f"the taxonomy {location} does not exist") from None
    except ValueError as error:
        raise InputError(f"the taxonomy {location} is not JSON: {error}") from None


def taxonomy_document(taxonomy: Taxonomy | None) -> dict[str, Any] | None:
    """The taxonomy as its JSON document."""
    if taxonomy is None:
        return None
    return {
        "name": taxonomy.name,
        "classes": list(taxonomy.classes),
        "void": taxonomy.void,
        "fine_to_coarse": taxonomy.fine_to_coarse and list(taxonomy.fine_to_coarse),
        "first_class_id": taxonomy.first_class_id,
    }


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
    if not total["indexed"]:
        reasons = _join(stage.folder, "quarantine", stage.shards, QUARANTINE_SCHEMA)
        raise InputError(
            f"none of the {stage.items} images can be used; the first: "
            f"{reasons[0]['path'][0].as_py()}: {reasons[0]['reason'][0].as_py()}; give readable "
            "images as another --dump"
        )
    for name, schema in (("index", INDEX_SCHEMA), ("quarantine", QUARANTINE_SCHEMA)):
        parts = _join(stage.folder, name, stage.shards, schema)
        tables.write_parts(
            stage.folder.storage, f"{stage.folder.path}/{name}.parquet", parts, schema
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
        highest_label=max(record.results["highest_label"] for record in records),
    )


def _join(folder: Folder, name: str, shards: int, schema: pa.Schema) -> list[pa.Table]:
    parts: Iterator[pa.Table] = (
        tables.read_table(folder.storage, f"{folder.path}/parts/{name}-{shard:06d}.parquet")
        for shard in range(shards)
    )
    return [part for part in parts if part.num_rows]


def check_frozen(workspace: Workspace, dump: str) -> list[str]:
    """Images that lie beside a finished dump's but are not in it: they need a dump of their own."""
    folder = workspace.corpus(dump)
    manifest = folder.manifest()
    listing = tables.read_table(folder.storage, f"{folder.path}/{LISTING}")
    known = set(listing.column("path").to_pylist())
    try:
        present = Storage(manifest["images_uri"]).files()
    except InputError:
        return []  # the originals are gone or out of reach; finished work stands without them
    return [path for path, _ in present if is_image(path) and path not in known]
