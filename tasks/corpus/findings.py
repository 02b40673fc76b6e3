"""What a dump's files add up to: labels that do not fit, alike images, pages, what numbers mean."""

from collections.abc import Sequence
from typing import Any

from stego_core.errors import InputError, WorkspaceError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.listing import PAGE_COLUMNS
from tasks.engine.stage import Stage
from tasks.images import number_counts, number_meaning
from tasks.labels import label_decoding
from tasks.labels.label_decoding import Tally
from tasks.log import Log
from tasks.options import ReadOptions
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

log = Log(__name__)


def part_file(folder: Folder, name: str, shard: int) -> str:
    """Where one shard's part of the index or the quarantine lies."""
    return f"{folder.path}/parts/{name}-{shard:06d}.parquet"


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
        label_decoding.require_every_class(tally, Taxonomy.parse(taxonomy) if taxonomy else None)


def alike(stage: Stage) -> list[str]:
    """What to say of images whose files are the same, byte for byte."""
    seen: set[int] = set()
    copies, example = 0, ""
    wanted = ["path", "digest", *(PAGE_COLUMNS if "pages" in stage.manifest else {})]
    place = f"{stage.folder.path}/{layout.INDEX_FILE}"
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


def decide(
    workspace: Workspace, stage: Stage, records: Sequence[Record]
) -> number_meaning.NumberMeaning:
    """What the numbers of a dump's files mean, and tell of it.

    Raises:
        WorkspaceError: an earlier version began to index it.
    """
    found: list[number_counts.Tally] = []
    for record in records:
        if "values" not in record.results:
            stage.folder.clear()
            raise WorkspaceError(
                f"{stage.folder.path} was begun by an earlier version; run the same command again, "
                "and it begins anew"
            )
        path = values_file(stage.folder, record.shard)
        tensors = tables.read_tensors(stage.folder.storage, path)
        found = number_counts.by_form(
            [*found, *number_counts.unpacked(record.results["values"], tensors)]
        )
    before = [
        each
        for dump in stage.manifest["values_before"]
        for each in number_meaning.renderings(workspace.corpus(dump).manifest())
    ]
    options = {name: stage.manifest.get(name) for name in ("bands", "value_range")}
    given = {name: value for name, value in options.items() if value is not None}
    decided = number_meaning.decided(found, ReadOptions(**given), before)
    for line in decided.told:
        log.info("values", dump=stage.manifest["dump"], told=line)
    for line in decided.warnings:
        log.warning(line, dump=stage.manifest["dump"])
    return decided


def values_file(folder: Folder, shard: int) -> str:
    """Where the counts of one shard's numbers lie."""
    return f"{folder.path}/parts/values-{shard:06d}.safetensors"
