"""The writer lease: one run at a time writes a workspace, and renews its lease while it lives.

Why not a conditional create ("put if absent")? Of eight writers that tried it at the same moment on
OpenStack Swift, up to eight succeeded, and s3fs promises it for AWS alone. So a writer writes a
lease file of its own beside those of others, then lists them all. Of two that do so at the same
moment at least one sees the other and removes its file; whoever sees nobody else has the workspace.

No clocks are compared. A lease has expired when its beat stood still while another writer watched
it for EXPIRY_SECONDS, or when its process has ended on this very machine.
"""

import itertools
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psutil
from cachetools import LRUCache

from stego_core.errors import BusyError, StegoError, WorkspaceError
from tasks.log import Log
from tasks.storage.storage import Storage
from tasks.storage.threads import bound, context_thread
from tasks.workspace.layout import WRITERS

log = Log(__name__)

RENEWAL_SECONDS = 15.0  # between two renewals of a lease
EXPIRY_SECONDS = 90.0
"""A lease that was not renewed for this time has expired: its machine or network is gone."""
LOOK_SECONDS = 1.0  # between two listings of the leases of others, on average
SAME_START_SECONDS = 1.0  # two processes with the same id began further apart than this
CONTEST_SECONDS = 10.0
"""How long the first of several that began together waits for the others to step back."""

KEPT_BYTES = 2**24
"""Of documents that the writer keeps, at most."""

Content = dict[str, Any]
"""Content of a lease file: its process, its beat, and whether it is held or still contended."""


class Kept:
    """Contents of documents by path, the latest up to KEPT_BYTES."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.contents: LRUCache[str, bytes] = LRUCache(KEPT_BYTES, getsizeof=len)
        self.lock = threading.Lock()
        self.changes = 0  # whatever was read before the last one may be old

    def get(self, path: str) -> bytes | None:
        """The content of a document; None where it is not kept."""
        with self.lock:
            return self.contents.get(path)

    def add(self, path: str, content: bytes, changes: int) -> None:
        """Keep what was read, or written, after so many changes, unless there were more since."""
        with self.lock:
            if changes == self.changes and len(content) <= KEPT_BYTES:
                self.contents[path] = content

    def forget(self, path: str) -> None:
        """Drop a document, or all below a folder; of "" all."""
        with self.lock:
            self.changes += 1
            for name in [name for name in self.contents if _is_in(name, path)]:
                del self.contents[name]


@dataclass
class Lease:
    """The right to write a workspace, and the file that says so."""

    storage: Storage
    path: str = field(default_factory=lambda: f"{WRITERS}/{uuid4().hex}.json")
    content: Content = field(default_factory=dict)  # for people and for those who wait
    first_seen: dict[tuple[str, Any], float] = field(default_factory=dict)
    """When each beat of another's lease was seen first, by path and beat."""
    expired: list[str] = field(default_factory=list)  # others' expired leases, as of the last look
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when somebody else took over, because this process was away for too long."""
    ended: threading.Event = field(default_factory=threading.Event)  # set when the block ends
    kept: Kept = field(default_factory=Kept)  # documents that nobody else changes meanwhile

    def write(self, beat: int) -> None:
        """Write the file, or renew it with another beat."""
        self.content = {**_this_process(), **self.content, "beat": beat}
        self.storage.write(self.path, json.dumps(self.content, sort_keys=True).encode())

    def remove(self) -> None:
        """Remove the file; where the store cannot be reached, the lease will expire."""
        with suppress(OSError, StegoError):
            self.storage.remove(self.path)

    def others(self) -> dict[str, Content]:
        """Leases of others by file, expired ones included; what is no lease is left out."""
        paths = [f"{WRITERS}/{name}" for name in self.storage.names(WRITERS)]
        paths = [path for path in paths if path.endswith(".json") and path != self.path]
        leases: dict[str, Content] = {}
        for path, content in zip(paths, self.storage.read_many(paths), strict=True):
            if content is not None:
                with suppress(ValueError, TypeError):
                    leases[path] = dict(json.loads(content))
        return leases

    def live_others(self) -> dict[str, Content]:
        """Leases of others that have not expired, by file."""
        others = self.others()
        self.expired = [path for path in others if self._has_expired(path, others[path])]
        return {path: others[path] for path in others if path not in self.expired}

    def _has_expired(self, path: str, other: Content) -> bool:
        if _is_of_this_machine(other) and not _still_runs(other):
            return True
        now = time.monotonic()
        return now - self.first_seen.setdefault((path, other.get("beat")), now) >= EXPIRY_SECONDS

    def comes_first(self, live: dict[str, Content]) -> bool:
        """Whether nobody holds the workspace yet and this lease is the first of the contenders."""
        return not any(other.get("held") for other in live.values()) and self.path < min(live)

    def renew(self) -> None:
        """Renew the lease until its block ends; for a thread of its own."""
        beat = int(self.content["beat"])
        while not self.ended.wait(RENEWAL_SECONDS):
            beat += 1
            try:
                if not self.storage.exists(self.path):
                    self.lost.set()
                    return
                self.write(beat)
            except (OSError, StegoError) as error:  # the next renewal may reach the store
                log.warning("writer lease not renewed", workspace=self.storage.uri, cause=error)


_held: ContextVar[dict[str, Lease] | None] = ContextVar("held", default=None)


@contextmanager
def writing(storage: Storage, wait_seconds: float = 0.0) -> Iterator[None]:
    """Be the only writer until the end of the block; a block inside another takes part in it.

    Raises:
        BusyError: another run has the workspace, and still has it after `wait_seconds`.
    """
    leases = _held.get() or {}
    if storage.uri in leases:
        yield
        return
    lease = Lease(storage)
    try:
        _acquire(lease, wait_seconds)
    except BaseException:
        lease.remove()
        raise
    renewing = context_thread(lease.renew, "writer lease")
    renewing.start()
    try:
        with bound(_held, {**leases, storage.uri: lease}):
            yield
    finally:
        lease.ended.set()
        renewing.join()
        if not lease.lost.is_set():
            lease.remove()


def writer(storage: Storage) -> str | None:
    """Who writes a workspace now, for people; None where nobody does. Nothing is written."""
    live = Lease(storage).live_others()
    return _owner(live) if live else None


def kept(storage: Storage) -> Kept | None:
    """What the writer of a workspace keeps of it; None for others, and after another took over."""
    lease = (_held.get() or {}).get(storage.uri)
    return None if lease is None or lease.lost.is_set() else lease.kept


def check(storage: Storage) -> None:
    """Raise WorkspaceError where another run took the workspace over."""
    lease = (_held.get() or {}).get(storage.uri)
    if lease is None:
        return
    if lease.lost.is_set() or not storage.exists(lease.path):
        lease.lost.set()
        raise WorkspaceError(
            f"another run took {storage.uri} over while this one was away for more than "
            f"{EXPIRY_SECONDS:.0f} s; let it end, then run the same command again"
        )


def _acquire(lease: Lease, wait_seconds: float) -> None:
    """Wait until no other lease is live, write one, list again, and step back if one has come.

    A waiting writer has no file: files of all that wait would keep each other waiting.
    """
    begun, announced, written = time.monotonic(), False, False
    for beat in itertools.count():
        live = lease.live_others()
        if written or not live:
            lease.write(beat)
            written = True
            live = lease.live_others()
            if not live:
                break
        first = written and lease.comes_first(live)
        patience = max(wait_seconds, CONTEST_SECONDS) if first else wait_seconds
        if time.monotonic() - begun >= patience:
            raise BusyError(
                f"{lease.storage.uri} is being written by {_owner(live)}; let that run end, or "
                "give --wait SECONDS to queue behind it"
            )
        if written and not first:
            lease.storage.remove(lease.path)
            written = False
        if not (first or announced):
            log.warning(f"waiting for {_owner(live)}", workspace=lease.storage.uri)
            announced = True
        time.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))
    lease.content["held"] = True
    lease.write(beat + 1)
    for path in lease.expired:
        lease.storage.remove(path)


def _is_in(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}/")


def _owner(live: dict[str, Content]) -> str:
    """The process of the oldest live lease."""
    oldest = min(live.values(), key=lambda other: str(other.get("since")))
    return f"process {oldest.get('pid')} on {oldest.get('host')} since {oldest.get('since')}"


def _is_of_this_machine(other: Content) -> bool:
    mine = _this_process()
    return all(other.get(name) == mine[name] for name in ("host", "boot", "pids"))


def _still_runs(other: Content) -> bool:
    """Whether the process of a lease of this machine still runs; another may have its id."""
    try:
        process = psutil.Process(int(other["pid"]))
        same = abs(_started(process) - other["started"]) < SAME_START_SECONDS
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _this_process() -> Content:
    """This process, so that others can see whether it still runs."""
    return {
        "host": socket.gethostname(),
        "boot": _content("/proc/sys/kernel/random/boot_id"),
        "pids": _pid_namespace(),
        "pid": os.getpid(),
        "started": _started(psutil.Process()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    }


def _started(process: psutil.Process) -> float:
    """Seconds from the machine's start to the process's, which no setting of its clock moves."""
    return float(process.create_time() - psutil.boot_time())


def _content(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    """Containers of one machine may share its name and boot, but not its process ids."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
