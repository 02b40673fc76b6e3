"""Checks and remarks that take all files of a dump together: labels, copies, pages, numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError, WorkspaceError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.listing import PAGE_COLUMNS
from tasks.engine.stage import Stage
from tasks.files.image_names import Hashes, among, repeated
from tasks.images import number_counts, number_meaning
from tasks.labels.label_decoding import LabelCounts, require_every_class
from tasks.log import Log
from tasks.options import ReadOptions
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

log = Log(__name__)


def part_file(folder: Folder, name: str, shard: int) -> str:
    """One shard's part of the index or the quarantine."""
    return f"{folder.path}/{layout.PARTS}/{name}-{shard:06d}.parquet"


def values_file(folder: Folder, shard: int) -> str:
    """The counts of one shard's numbers."""
    return f"{folder.path}/{layout.PARTS}/values-{shard:06d}.safetensors"


def unreadable_label(entry: dict[str, Any]) -> dict[str, str]:
    """A label that cannot be read, for a sentence."""
    reason = entry["label_reason"].removeprefix("label: ").removeprefix("label ")
    return {"label": entry["label"], "path": entry["path"], "reason": reason}


def refuse_problems(problems: Sequence[str]) -> None:
    """Raise an InputError for labels that do not fit, before any work is spent on them.

    The shard stays unrecorded, so that mended labels are read again.
    """
    if problems:
        raise InputError(
            f"{len(problems)} labels do not fit, the first: {problems[0]}; mend them or leave "
            "out --labels"
        )


def require_labels(stage: Stage, records: Sequence[Record], labelled: int) -> None:
    """Raise an InputError for labels that are all unreadable, or whose 255 may be a class."""
    first = next((r.results["bad_label"] for r in records if r.results.get("bad_label")), None)
    if first and not labelled:
        raise InputError(
            f"none of the labels can be used; the first: label {first['label']} of image "
            f"{first['path']}: {first['reason']}"
        )
    if not stage.manifest["coco"]:
        taxonomy = stage.manifest["taxonomy"]
        counts = LabelCounts.total([record.results for record in records])
        require_every_class(counts, Taxonomy.parse(taxonomy) if taxonomy else None)


def remark_on_copies(stage: Stage) -> list[str]:
    """A sentence on images whose files are the same, byte for byte; none without such."""
    index = f"{stage.folder.path}/{layout.INDEX_FILE}"
    marks = _content_marks(stage, index)
    several = repeated(marks)
    copies = among(marks, several)
    count = int(copies.sum()) - len(several)
    if not count:
        return []
    if count == len(marks) - 1:
        return [
            f"all {count + 1:,} images are alike: their files are the same, byte for byte, so "
            "there is nothing to tell apart but what is in one of them"
        ]
    row = _first_copy(marks, np.flatnonzero(copies))
    example = tables.read_rows(stage.folder.storage, index, np.array([row]))[0]["path"]
    return [f"{count:,} images are copies of others, byte for byte (for example {example})"]


def _content_marks(stage: Stage, index: str) -> Hashes:
    """A hash of each image's content: of its file, and of its page where every page is one."""
    columns = ["digest", *(PAGE_COLUMNS if "pages" in stage.manifest else {})]
    rows = tables.stream_rows(stage.folder.storage, index, columns)
    marks = (hash((row["digest"], row.get("page"))) for row in rows)
    count = tables.row_count(stage.folder.storage, index)
    return np.fromiter(marks, np.int64, count).view(np.uint64)


def _first_copy(marks: Hashes, rows: NDArray[np.int64]) -> int:
    """The first of some rows whose content an earlier one has; there is one."""
    seen: set[int] = set()
    for row in rows.tolist():
        if (mark := int(marks[row])) in seen:
            break
        seen.add(mark)
    return int(row)


def sum_unused_pages(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count and an example of unused pages and frames, by kind, over several files."""
    total: dict[str, Any] = {}
    for part in parts:
        for kind, pages in part.items():
            sums = total.setdefault(kind, {"count": 0, "example": pages["example"]})
            sums["count"] += pages["count"]
    return total


def decide_meaning(
    workspace: Workspace, stage: Stage, records: Sequence[Record]
) -> number_meaning.NumberMeaning:
    """Decide and log what numbers mean; a WorkspaceError if an earlier version began the dump."""
    counts: list[number_counts.NumberCounts] = []
    for record in records:
        if "values" not in record.results:
            stage.folder.clear()
            raise WorkspaceError(
                f"{stage.folder.path} was begun by an earlier version; run the same command again, "
                "and it begins anew"
            )
        path = values_file(stage.folder, record.shard)
        tensors = tables.read_tensors(stage.folder.storage, path)
        part = number_counts.unpack(record.results["values"], tensors)
        counts = number_counts.by_form([*counts, *part])
    earlier = [
        rendering
        for dump in stage.manifest["values_before"]
        for rendering in number_meaning.renderings(workspace.corpus(dump).manifest())
    ]
    names = ("bands", "value_range")
    options = {n: stage.manifest[n] for n in names if stage.manifest.get(n) is not None}
    meaning = number_meaning.decide(counts, ReadOptions(**options), earlier)
    for line in meaning.lines:
        log.info("values", dump=stage.manifest["dump"], told=line)
    for line in meaning.warnings:
        log.warning(line, dump=stage.manifest["dump"])
    return meaning
