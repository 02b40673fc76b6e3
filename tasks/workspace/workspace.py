"""A workspace: where each stage's folders lie, its dumps, and what the last run used."""

import json
import re
from dataclasses import dataclass
from typing import Any

from stego_core.errors import InputError, WorkspaceError
from tasks.storage.redaction import is_http
from tasks.storage.storage import Storage
from tasks.workspace import kept_documents, layout, lease
from tasks.workspace.catalog import arrived_dumps, read_catalog, save_catalog
from tasks.workspace.catalog_file import Entries
from tasks.workspace.ledger import Folder

FORMAT = 1  # raised when an older workspace can no longer be read
DUMP_NAME = re.compile(r"\w[\w.-]{0,99}")  # names of dumps, which are also names of folders


@dataclass(frozen=True)
class Workspace:
    """All that a corpus's labelling has produced, under one URI."""

    storage: Storage

    @classmethod
    def create(cls, location: str) -> "Workspace":
        """The workspace at a path or URI, made if there is none; raises as `open`."""
        workspace = cls(_place(location))
        if workspace.storage.document(layout.ROOT_FILE) is None:
            workspace.storage.write(layout.ROOT_FILE, json.dumps({"format": FORMAT}).encode())
        return workspace.checked()

    @classmethod
    def open(cls, location: str) -> "Workspace":
        """An existing workspace.

        Raises:
            WorkspaceError: there is none, or it was made by another version.
        """
        return cls(_place(location)).checked()

    @classmethod
    def at(cls, location: str) -> "Workspace":
        """The workspace at a place where there may be none yet: nothing, or an empty folder.

        Raises:
            WorkspaceError: other files lie there, or it was made by another version.
        """
        workspace = cls(_place(location))
        names = [name for name in workspace.storage.names("") if not _is_by_the_way(name)]
        return workspace.checked() if names else workspace

    @property
    def is_made(self) -> bool:
        """Whether there is a workspace at the place."""
        return self.storage.exists(layout.ROOT_FILE)

    def checked(self) -> "Workspace":
        """Itself, if this version can read it."""
        root = kept_documents.document(self.storage, layout.ROOT_FILE)
        if root is None:
            raise WorkspaceError(
                f"{self.storage.uri} is not a workspace (it has no {layout.ROOT_FILE}); "
                "make one with `stego run`"
            )
        if root.get("format") != FORMAT:
            raise WorkspaceError(
                f"{self.storage.uri} has workspace format {root.get('format')!r}, this version "
                f"of stego-flows reads {FORMAT}; use the version that made it, or a new workspace"
            )
        return self

    @property
    def exports(self) -> Storage:
        """Where exports go that are given no other place, each into a folder of its own."""
        return Storage(self.storage.full(layout.EXPORTS))

    def folder(self, stage: str, *parts: str) -> Folder:
        """A stage's folder, such as folder(layout.MASKS, key, dump)."""
        return Folder(self.storage, "/".join((stage, *parts)))

    def corpus(self, dump: str) -> Folder:
        """The folder of a dump's frozen index; an InputError if its name cannot be a folder's."""
        if not DUMP_NAME.fullmatch(dump):
            raise InputError(
                f"dump name {dump!r} must be letters, digits, '.', '_' or '-', not beginning "
                "with '.' or '-', at most 100; give one with --dump"
            )
        return self.folder(layout.corpus(dump))

    def dumps(self) -> list[str]:
        """Names of the finished dumps, in the order in which they arrived."""
        return list(self.arrived())

    def arrived(self) -> dict[str, dict[str, Any]]:
        """What the catalog keeps of each finished dump's corpus manifest, in the same order."""
        return arrived_dumps(self.storage)

    def catalog(self) -> Entries:
        """What is shown of every finished dump, under the keys of the last run, in order."""
        return read_catalog(self.storage, self.last_run_or_none() or {})

    def save_catalog(self) -> None:
        """Bring the catalog up to date; raises as `update_last_run`."""
        save_catalog(self.storage, self.last_run_or_none() or {})

    def last_run(self) -> dict[str, Any]:
        """As `last_run_or_none`; a WorkspaceError before the first run."""
        stored = self.last_run_or_none()
        if stored is None:
            raise WorkspaceError(
                f"{self.storage.uri} has no head and clusters yet; run `stego run` first"
            )
        return stored

    def last_run_or_none(self) -> dict[str, Any] | None:
        """{"keys": ..., "options": ..., "dumps": ...} of the last run; None before the first."""
        return kept_documents.document(self.storage, layout.CURRENT_FILE)

    def update_last_run(self, **entries: Any) -> None:
        """Replace entries of the last run; a WorkspaceError if another one took over since."""
        lease.check(self.storage)
        entries = {**(self.last_run_or_none() or {}), **entries}
        content = json.dumps(entries, indent=1, sort_keys=True)
        kept_documents.write(self.storage, layout.CURRENT_FILE, content.encode())


def _is_by_the_way(name: str) -> bool:
    """Whether a file does not make a folder another's: a log, a lease, what a system hides."""
    return name.startswith((".", "stego.log")) or name == layout.WRITERS


def _place(location: str) -> Storage:
    """Where a workspace may lie; a WorkspaceError where files cannot be replaced at will."""
    storage = Storage.at(location)
    if is_http(storage.uri) or storage.uri.startswith("hf://"):
        raise WorkspaceError(
            f"{storage.uri} takes no workspace, it is read only; give a folder, or a bucket such "
            "as s3://bucket/name, gs://bucket/name, az://container/name"
        )
    return storage
