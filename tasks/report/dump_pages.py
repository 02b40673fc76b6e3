"""A page of its own for every dump, written once, and lists of all dumps with links to them.

`reports/NAME/dumps.json` says what each page shows. It is written after the pages: after a kill
between them, the pages are written again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tasks.class_names import classes_file
from tasks.corpus.quarantine import quarantined
from tasks.log import Log
from tasks.report import page
from tasks.report.compared_images import comparisons
from tasks.report.confusion import confusion
from tasks.report.contents import DumpReport, ExampleImage
from tasks.report.example_images import evenly_spread
from tasks.report.timings import dump_timings
from tasks.workspace import layout
from tasks.workspace.dump_entry import DumpEntry
from tasks.workspace.keys import canonical, digest
from tasks.workspace.summary import Summary

log = Log(__name__)
VERSION = 1
"""Raised where a page of the same dump is to be written anew."""
RENEWED = 4
"""Pages that are written anew where only the names of the classes changed, the newest."""
LISTED = 2000
"""Dumps of a list."""
Examples = dict[str, list[ExampleImage]]
"""Example images by dump."""


@dataclass(frozen=True)
class DumpPages:
    """The pages of a report's dumps; `status` is the document of `stego status`."""

    summary: Summary
    name: str
    status: Mapping[str, Any]
    version: str

    def write(self) -> Examples:
        """Write the pages that are missing or show something else; returns the examples of the
        newest of them.
        """
        names, stored = classes_file.names_for_display(self.summary.workspace), self._stored()
        stamp = names.stamp if names else ""
        marks = {d: _mark(self.summary, d, entry) for d, entry in self.summary.catalog.items()}
        there = self._there()
        missing = [d for d in marks if d not in there or stored.get(d, [""])[0] != marks[d]]
        renamed = [d for d in marks if d not in missing and stored[d][1] != stamp]
        due = sorted([*missing, *renamed[-RENEWED:]], key=list(marks).index)
        examples: Examples = {}
        for dump in due:
            examples = {dump: self._write(dump)}  # pictures of one dump at a time
            stored[dump] = [marks[dump], stamp]
        for dump in there - set(marks):
            self.summary.workspace.storage.remove(self._path(dump))
        kept = {dump: stored[dump] for dump in marks}
        if due or there - set(marks):
            self.summary.workspace.storage.write(self._file(), canonical(kept))
            log.info("pages of dumps written", report=self.name, dumps=len(due))
        return examples

    def addresses(self) -> dict[str, str]:
        """Address of each dump's page, relative to the report's."""
        return {d: f"{layout.DUMP_PAGES}/{quote(d)}.html" for d in self.summary.catalog}

    def write_lists(self) -> list[str]:
        """Write the lists of all dumps; returns their addresses, relative to the report's."""
        folder, dumps = layout.report(self.name), list(self.summary.catalog)
        lists = [dumps[first : first + LISTED] for first in range(0, len(dumps), LISTED)]
        addresses = {f"dumps-{number}.html": part for number, part in enumerate(lists, 1)}
        for address, part in addresses.items():
            content = page.render_list(self.status, part, self.addresses())
            self.summary.workspace.storage.write(f"{folder}/{address}", content.encode())
        return list(addresses)

    def _path(self, dump: str) -> str:
        return f"{layout.report(self.name)}/{layout.DUMP_PAGES}/{dump}.html"

    def _file(self) -> str:
        return f"{layout.report(self.name)}/{layout.DUMP_PAGES_FILE}"

    def _there(self) -> set[str]:
        folder = f"{layout.report(self.name)}/{layout.DUMP_PAGES}"
        names = self.summary.workspace.storage.names(folder)
        return {name.removesuffix(".html") for name in names if name.endswith(".html")}

    def _stored(self) -> dict[str, list[str]]:
        """What each page shows; nothing where the file cannot be read: pages are written anew."""
        content = self.summary.workspace.storage.read_or_none(self._file())
        try:
            return {dump: [str(a), str(b)] for dump, (a, b) in json.loads(content or "{}").items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    def _write(self, dump: str) -> list[ExampleImage]:
        summary, entry = self.summary, self.summary.catalog[dump]
        examples = evenly_spread(summary, dump)
        report = DumpReport(
            dump,
            summary.workspace.storage.uri,
            self.version,
            self.status["revision"],
            self.status["dumps"][dump],
            self.status["scores"].get(dump),
            examples,
            confusion(summary, dump),
            comparisons(summary, [dump]),
            quarantined(summary, [dump]) if entry.quarantined else (),
            dump_timings(summary, dump),
        )
        content = page.render_dump(report).encode()
        summary.workspace.storage.write(self._path(dump), content)
        return examples


def _mark(summary: Summary, dump: str, entry: DumpEntry) -> str:
    """A digest of all that a dump's page shows, without the names of the classes."""
    drift = summary.last_run.get("drift", {}).get(dump)
    return digest(canonical([VERSION, entry.document(), drift]))[:16]
