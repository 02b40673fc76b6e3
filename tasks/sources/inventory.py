"""The listing of a dump that is made of archives or lists: indexed once, archive by archive.

Each archive's rows are a Parquet file in the workspace, with what cannot be used beside it: a run
that is killed meanwhile goes on with the next archive. In memory are the rows of one archive at a
time, and a hash of each name.
"""

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stego_core.errors import InputError, OutageError, StegoError
from tasks.files.image_names import digests, ending
from tasks.files.left_out import LeftOutCounts
from tasks.sources import tar_index, zip_index
from tasks.sources.forms import Form, Object, form_of, objects_of
from tasks.sources.member_ids import IdChoice
from tasks.sources.member_rows import (
    ROW_COLUMNS,
    Archive,
    Suffixes,
    rows_of_archive,
    rows_of_list,
)
from tasks.sources.members import Flaw, Member
from tasks.sources.uri_lists import ListColumns
from tasks.storage.redaction import redacted
from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder

INDEXED_AT_ONCE = 4  # archives
ROWS_AT_ONCE = 2**16  # of a list, in one file
MOST_NAMED = 20  # reasons that are kept of one archive and kind


@dataclass(frozen=True)
class Inventory:
    """What is to be listed, and where it is written down."""

    storage: Storage  # of the workspace
    folder: str  # in it, of the dump
    location: str  # as --images has it
    suffixes: Suffixes = field(default_factory=Suffixes)
    columns: ListColumns = field(default_factory=ListColumns)
    split: str | None = None
    with_labels: bool = True  # whether members of the same key are labels of images

    def index(self, columns: dict[str, str]) -> tuple[list[str], LeftOutCounts, list[Object]]:
        """Index all archives or lists and choose ids.

        Returns:
            files of rows of the listing, for `join`, what is left out, and the archives or lists.

        Raises:
            InputError: there is no archive or list that can be read, or no image in any.
        """
        objects, missing = objects_of(self.location)
        flaws = Flaws()
        for uri, reason in missing.items():
            flaws.add(Flaw("unreadable archive", redacted(uri), reason))
        parts = self._listed(self._parts(objects, flaws), columns, flaws)
        return parts, flaws.counts(), objects

    def join(self, parts: list[str], path: str, columns: dict[str, str]) -> None:
        """Write the listing from its parts, which then are removed."""
        tables.join_tables(self.storage, parts, path, columns)
        Folder(self.storage, f"{self.folder}/{layout.MEMBERS}").clear()

    def _parts(self, objects: list[Object], flaws: "Flaws") -> list[str]:
        """The files of rows of all archives or lists, in order."""
        names, parts = _distinct_names([each.uri for each in objects]), []
        pairs = list(zip(objects, names, strict=True))
        with ContextThreadPool(INDEXED_AT_ONCE) as pool:
            for document in pool.map(lambda pair: self._indexed(*pair), pairs):
                parts += document["parts"]
                flaws.merge(document["flaws"])
        return parts

    def _indexed(self, item: Object, shown: str) -> dict[str, Any]:
        """Files and flaws of one archive or list, which is read unless that was done already."""
        pins = [*item, shown, self.suffixes, self.columns, self.split, self.with_labels]
        stem = f"{self.folder}/{layout.MEMBERS}/{keys.digest(keys.canonical(pins))}"
        document = self.storage.document(f"{stem}.json")
        if document is not None:
            return document
        flaws, parts = Flaws(), list[str]()
        for rows in _batches(self._rows(item, shown), flaws):
            parts.append(f"{stem}-{len(parts):04d}.parquet")
            table = {name: [row[name] for row in rows] for name in ROW_COLUMNS}
            tables.write_table(self.storage, parts[-1], table, ROW_COLUMNS)
        document = {"parts": parts, "flaws": flaws.kinds}
        content = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self.storage.write(f"{stem}.json", content)
        return document

    def _rows(self, item: Object, shown: str) -> Iterator[dict[str, Any] | Flaw]:
        form = form_of(self.location)
        if form is Form.LIST:
            yield from rows_of_list(item.uri, self.columns, self.split)
            return
        archive = Archive(item.uri, shown, item.version)
        try:
            with Storage(item.uri).opened("") as file:
                members: Iterable[Member | Flaw]
                if form is Form.TAR:
                    members = tar_index.TarWalk(file, item.bytes)
                else:
                    members = zip_index.members(file, item.bytes)
                yield from rows_of_archive(archive, members, self.suffixes, self.with_labels)
        except OutageError:
            raise  # it may be there later: the same command goes on with this archive
        except (StegoError, FileNotFoundError, PermissionError) as error:
            yield Flaw("unreadable archive", shown, str(error))

    def _listed(self, parts: list[str], columns: dict[str, str], flaws: "Flaws") -> list[str]:
        """Choose ids, and write the listing's rows of each part beside it."""
        ids, marks = IdChoice(), [digests([])]
        for part in parts:
            names = list(self._names(part))
            marks.append(digests(mark for _, mark in names))
            ids.see(short for short, _ in names)
        if not (total := sum(map(len, marks))):
            raise InputError("; ".join([self._no_images(), *flaws.counts().lines()]))
        first_of = np.zeros(total, bool)  # of each file and member, the row that has it first
        first_of[np.unique(np.concatenate(marks), return_index=True)[1]] = True
        ids.settle(names for part in parts for names in self._names(part))
        written, begin = [], 0
        for part in parts:
            rows = tables.read_table(self.storage, part).to_pylist()
            chosen = first_of[begin : begin + len(rows)]
            begin += len(rows)
            for row, first in zip(rows, chosen, strict=True):
                if not first:
                    flaws.add(Flaw("repeated address", row["path"]))
            values = [_with_id(row, ids) for row, first in zip(rows, chosen, strict=True) if first]
            flaws.renamed += [r["image_id"] for r in values if r["image_id"] != r["short"]]
            written.append(f"{part}.listed")
            table = {name: [row.get(name) for row in values] for name in columns}
            tables.write_table(self.storage, written[-1], table, columns)
        return written

    def _no_images(self) -> str:
        return f"no images in {redacted(self.location)}"

    def _names(self, part: str) -> Iterator[tuple[str, str]]:
        """Names without endings, and what tells images apart, of one file of rows."""
        table = tables.read_columns(self.storage, part, ["short", "object", "offset"])
        for short, name, offset in zip(*table.values(), strict=True):
            yield short, _mark(name, offset)


class Flaws:
    """Flaws by kind: how many, an example, and the first reasons."""

    def __init__(self) -> None:
        """None yet."""
        self.kinds: dict[str, dict[str, Any]] = {}
        self.renamed: list[str] = []

    def add(self, flaw: Flaw) -> None:
        """Count one."""
        self.merge({flaw.kind: {"count": 1, "example": flaw.name, "notes": [flaw.note]}})

    def merge(self, kinds: dict[str, dict[str, Any]]) -> None:
        """Add those of an archive."""
        for kind, more in kinds.items():
            each = self.kinds.setdefault(
                kind, {"count": 0, "example": more["example"], "notes": []}
            )
            each["count"] += more["count"]
            notes = [note for note in more["notes"] if note and note not in each["notes"]]
            each["notes"] = [*each["notes"], *notes][:MOST_NAMED]

    def counts(self) -> LeftOutCounts:
        """As the report has them."""
        counts = LeftOutCounts()
        for kind, each in sorted(self.kinds.items()):
            note = "; ".join(each["notes"][:3])
            counts.add_count(kind, each["count"], each["example"], note)
        if self.renamed:
            counts.remarks.append(
                f"{len(self.renamed):,} images have the name of another one, or one that is no "
                f"file's: their ids are marked (for example {self.renamed[0]})"
            )
        return counts


def _batches(
    found: Iterable[dict[str, Any] | Flaw], flaws: Flaws
) -> Iterator[list[dict[str, Any]]]:
    """Rows, so many at a time; flaws are counted."""
    rows: list[dict[str, Any]] = []
    for each in found:
        if isinstance(each, Flaw):
            flaws.add(each)
            continue
        rows.append(each)
        if len(rows) == ROWS_AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def _mark(name: str, offset: float | None) -> str:
    """What tells images apart: the file and, in an archive, the offset."""
    return f"{name}\0{-1 if offset is None or np.isnan(offset) else int(offset)}"


def _with_id(row: dict[str, Any], ids: IdChoice) -> dict[str, Any]:
    """A row of the listing."""
    name = ids.id_of(row["short"], _mark(row["object"], row["offset"]))
    if name != row["short"] and row["offset"] is None:  # addresses may be alike but for a scheme
        row = row | {"path": name + ending(row["path"])}
    return row | {"image_id": name}


def _distinct_names(uris: list[str]) -> list[str]:
    """The name of each archive; with the folders above it where another one has the same."""
    plain = [redacted(uri).partition("?")[0] for uri in uris]
    last = [posixpath.basename(uri) for uri in plain]
    counts = Counter(last)
    return [
        name if counts[name] == 1 else "/".join(uri.partition("://")[2].split("/")[-3:]) or uri
        for name, uri in zip(last, plain, strict=True)
    ]
