"""The ledger of finished work: a record per shard, and a manifest when all of them are there.

Why no database, and no results of Prefect's? Workers on several machines share nothing but the
storage, which may be an object store without locks or transactions. A small file per shard is
written once, by whoever computed it, and a listing shows which shards a killed run did not finish.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from stego_core.errors import DamageError, WorkspaceError
from tasks.storage.storage import Storage
from tasks.workspace import catalog_file, kept_documents
from tasks.workspace.layout import MAKERS, MANIFEST, PLAN, RECORDS

READ_TOGETHER = 1024
"""Records that are in memory at once."""


@dataclass(frozen=True)
class Record:
    """Proof that a shard's data were written whole."""

    shard: int
    rows: tuple[int, int]  # first and past-the-last
    bytes: int  # size of the shard's data before encoding
    checksum: str  # BLAKE2b of those data
    seconds: dict[str, float] = field(default_factory=dict)  # by kind of work
    invalid: dict[int, str] = field(default_factory=dict)  # why, of each row that cannot be used
    results: dict[str, Any] = field(default_factory=dict)  # small sums, merged at the end


@dataclass(frozen=True)
class Folder:
    """A folder of one stage's outcome: plan first, then data and records, the manifest last."""

    storage: Storage  # of the workspace
    path: str  # inside it

    def plan(self, pins: dict[str, Any]) -> None:
        """Write down what the folder is made from, before any data.

        A WorkspaceError if it was begun from something else.
        """
        stored = self.storage.document(f"{self.path}/{PLAN}")
        if stored is None:
            catalog_file.forget(self.storage, self.path)  # before anything says it is begun
            self.storage.write(f"{self.path}/{PLAN}", _encode(pins))
        elif differing := _differing(stored, pins):
            names = [name for name in differing if name in pins]
            raise WorkspaceError(
                f"{self.path} was begun from another {' and '.join(names) or 'plan'}; "
                "remove that folder, or use another workspace"
            )

    def differing(self, pins: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Stored and given value of each pin that differs from what the folder was begun from.

        Pins that one of them lacks count as None; nothing differs before it is begun.
        """
        stored = self.storage.document(f"{self.path}/{PLAN}")
        return {} if stored is None else _differing(stored, pins)

    def clear(self) -> None:
        """Remove all that is there, so that the folder can be begun anew."""
        if self.storage.exists(self.path):
            folder = Storage(self.storage.full(self.path))
            for file in folder.files():
                folder.remove(file.path)
        kept_documents.forget(self.storage, self.path)

    def recorded(self) -> set[int]:
        """Shards whose record is there."""
        names = self.storage.names(f"{self.path}/{RECORDS}")
        return {int(name[:-5]) for name in names if re.fullmatch(r"\d+\.json", name)}

    def missing(self, shards: int) -> list[int]:
        """Shards without a record, in order."""
        return sorted(set(range(shards)) - self.recorded())

    def record(self, record: Record) -> Record:
        """Write the record of a shard, after its data are written; returns the record."""
        self.storage.write(self.record_file(record.shard), _encode(asdict(record)))
        return record

    def record_file(self, shard: int) -> str:
        """The file of a shard's record."""
        return f"{self.path}/{RECORDS}/{shard:06d}.json"

    def records(self, shards: int) -> Iterator[Record]:
        """All records, in order of their shards, some at a time.

        Raises:
            WorkspaceError: one is not there; names those that are missing.
            DamageError: one is damaged.
        """
        for first in range(0, shards, READ_TOGETHER):
            part = range(first, min(first + READ_TOGETHER, shards))
            # A listing may lag behind, a read does not.
            contents = self.storage.read_many([self.record_file(shard) for shard in part])
            absent = [shard for shard, each in zip(part, contents, strict=True) if each is None]
            if absent:
                self._refuse_missing({*absent, *self.missing(shards)} - {*range(first)}, shards)
            for shard, content in zip(part, contents, strict=True):
                yield self._record(shard, content or b"")

    def record_of(self, shard: int) -> Record:
        """The record of one shard; a FileNotFoundError if there is none, or a DamageError."""
        return self._record(shard, self.storage.read(self.record_file(shard)))

    def _refuse_missing(self, missing: set[int], shards: int) -> NoReturn:
        raise WorkspaceError(
            f"{self.path} lacks {len(missing)} of {shards} shards ({sorted(missing)[:8]}); "
            "run the same command again"
        )

    def _record(self, shard: int, content: bytes) -> Record:
        try:
            stored = json.loads(content)
            stored["invalid"] = {int(row): reason for row, reason in stored["invalid"].items()}
            stored["rows"] = tuple(stored["rows"])
            return Record(**stored)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DamageError(
                f"{self.path}: the record of shard {shard} is damaged; remove it and run again"
            ) from None

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest: from now on readers accept the folder."""
        kept_documents.write(self.storage, f"{self.path}/{MANIFEST}", _encode(manifest))

    @property
    def finished(self) -> bool:
        """Whether the manifest is there; one request, also where it is not."""
        return self.manifest_or_none() is not None

    def manifest_or_none(self) -> dict[str, Any] | None:
        """The manifest; None of a folder that is not finished."""
        return kept_documents.document(self.storage, f"{self.path}/{MANIFEST}")

    def manifest(self) -> dict[str, Any]:
        """The manifest; a WorkspaceError if the folder is not finished."""
        stored = self.manifest_or_none()
        if stored is None:
            top = self.path.split("/")[0]
            raise WorkspaceError(
                f"{self.path} is not finished in {self.storage.uri}; run the stage "
                f"`stego {MAKERS.get(top, top)}` first"
            )
        return stored


def _differing(stored: dict[str, Any], pins: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    given = json.loads(_encode(dict(pins)))
    pairs = {name: (stored.get(name), given.get(name)) for name in sorted({*stored, *given})}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
