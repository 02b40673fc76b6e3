"""What the terminal shows of a workspace's housekeeping."""

from collections.abc import Sequence
from typing import Any

from rich.filesize import decimal
from rich.text import Text

from flows.reporting.console import line, results, say, table

MOST_ROWS = 200
"""Folders that are listed; `--json` has all of them."""


def show_pruned(document: dict[str, Any], writer: str | None) -> None:
    """What was removed, or would be, and what stays though nothing current is made from it."""
    removed = document["removed"]
    _show_folders("removed" if removed else "would be removed", document["folders"])
    _show_folders("stays", document["kept"])
    for path in document["unknown"]:
        say(f"left alone: {path} is none of this program's folders")
    total = f"{decimal(document['bytes'])} in {document['files']:,} files"
    if removed:
        line(f"removed: {total}")
    elif document["folders"]:
        line(f"nothing was removed; the same command with --remove removes {total}")
    else:
        line("nothing is left over")
    if writer:
        say(f"{writer} writes the workspace; --remove waits for it as long as --wait says")


def _show_folders(title: str, folders: Sequence[dict[str, Any]]) -> None:
    if not folders:
        return
    rows = table(title, ("folder", "why"), ("files", "size"))
    for folder in folders[:MOST_ROWS]:
        names = Text("\n".join(folder["paths"]), overflow="fold")
        rows.add_row(names, folder["why"], f"{folder['files']:,}", decimal(folder["bytes"]))
    results.print(rows)
    if len(folders) > MOST_ROWS:
        line(f"… and {len(folders) - MOST_ROWS} more; --json lists all of them")


def show_examined(document: dict[str, Any]) -> None:
    """What was found, by what can be done about it, and what a repair did."""
    findings = document["findings"]
    if findings:
        rows = table("what is not as it was written", ("where", "what", "fate"))
        for finding in findings[:MOST_ROWS]:
            where = Text(finding["path"], overflow="fold")
            rows.add_row(where, Text(finding["problem"]), finding["fate"])
        results.print(rows)
        if len(findings) > MOST_ROWS:
            line(f"… and {len(findings) - MOST_ROWS} more; --json lists all of them")
    for fate, remedy in dict.fromkeys((f["fate"], f["remedy"]) for f in findings):
        line(f"{fate}: {remedy}")
    for sentence in document["repaired"]:
        line(f"repair: {sentence}")
    for path in document["unfinished"][:MOST_ROWS]:
        line(f"unfinished: {path}")
    parts = [counted(document["checked"][f"{noun}s"], noun) for noun in ("folder", "shard", "dump")]
    outcome = counted(len(findings), "finding") if findings else "no findings"
    line(f"compared: {', '.join(parts)}; {outcome}")


def counted(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
