"""What a dump's files add up to: labels that do not fit, images that are alike, further pages."""

from collections.abc import Sequence
from typing import Any

from stego_core.errors import InputError
from stego_core.taxonomy import Taxonomy
from tasks import labels
from tasks.labels import Tally
from tasks.listing import PAGE_COLUMNS
from tasks.stage import Stage
from tasks.workspace import tables
from tasks.workspace.ledger import Record


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
