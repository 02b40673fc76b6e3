"""One writer per workspace: claims that are renewed while their owner lives.

Object stores have no lock to rely on, so a writer puts a claim of its own beside the others' and
then lists them all. Of two that do so at once at least one sees the other and steps back; whoever
sees nobody else has the workspace. No clocks are compared: a claim is dead when its beat stands
still for as long as somebody watched it, or when its process is gone from this very machine.
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

from stego_core.errors import BusyError, StegoError, WorkspaceError
from tasks.log import Log
from tasks.workspace.storage import Storage

log = Log(__name__)

CLAIMS = "writers"
BEAT_SECONDS = 15.0
DEAD_SECONDS = 90.0
"""A claim that nobody renewed for so long is removed: its machine died."""
LOOK_SECONDS = 1.0
SAME_SECONDS = 1.0
"""Two processes of one id began further apart than this."""
CONTEST_SECONDS = 10.0
"""How long the first of several newcomers waits for the others to step back."""


@dataclass
class Lease:
    """The right to write a workspace.

    Attributes:
        storage: the workspace's files.
        name: of the claim's file.
        claim: who holds it, for people and for those who wait.
        lost: set when somebody else took over, because this process was away for too long.
    """

    storage: Storage
    name: str = field(default_factory=lambda: f"{CLAIMS}/{uuid4().hex}.json")
    claim: dict[str, Any] = field(default_factory=dict)
    lost: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def write(self, beat: int) -> None:
        """Put the claim down, or renew it."""
        self.claim = {**_myself(), **self.claim, "beat": beat}
        self.storage.write(self.name, json.dumps(self.claim, sort_keys=True).encode())

    def others(self) -> dict[str, dict[str, Any]]:
        """Claims beside this one, by file name."""
        paths = [f"{CLAIMS}/{name}" for name in self.storage.names(CLAIMS)]
        paths = [path for path in paths if path.endswith(".json") and path != self.name]
        found: dict[str, dict[str, Any]] = {}
        for path, content in zip(paths, self.storage.read_many(paths), strict=True):
            if content is not None:
                with suppress(ValueError, TypeError):
                    found[path] = dict(json.loads(content))
        return found

    def renew(self) -> None:
        """Renew the claim until the end; for a thread of its own."""
        beat = int(self.claim["beat"])
        while not self.ended.wait(BEAT_SECONDS):
            beat += 1
            try:
                if not self.storage.exists(self.name):
                    self.lost.set()
                    return
                self.write(beat)
            except (OSError, StegoError) as error:  # the store is away; the next beat may reach it
                log.warning("claim not renewed", workspace=self.storage.uri, cause=error)


_held: ContextVar[dict[str, Lease] | None] = ContextVar("held", default=None)


@contextmanager
def writing(storage: Storage, wait_seconds: float = 0.0) -> Iterator[None]:
    """Be the only writer until the end of the block; a block inside another takes part in it.

    Raises:
        BusyError: another run has the workspace, and still has it after `wait_seconds`.
    """
    held = _held.get() or {}
    if storage.uri in held:
        yield
        return
    lease = Lease(storage)
    try:
        _acquire(lease, wait_seconds)
    except BaseException:
        with suppress(OSError, StegoError):
            storage.remove(lease.name)
        raise
    beating = threading.Thread(target=lease.renew, name="claim", daemon=True)
    beating.start()
    token = _held.set({**held, storage.uri: lease})
    try:
        yield
    finally:
        _held.reset(token)
        lease.ended.set()
        beating.join()
        with suppress(OSError, StegoError):  # what cannot be removed dies by itself
            if not lease.lost.is_set():
                storage.remove(lease.name)


def check(storage: Storage) -> None:
    """Refuse to go on where another run took the workspace over.

    Raises:
        WorkspaceError: it did.
    """
    lease = (_held.get() or {}).get(storage.uri)
    if lease is None:
        return
    if lease.lost.is_set() or not storage.exists(lease.name):
        lease.lost.set()
        raise WorkspaceError(
            f"another run took {storage.uri} over while this one was away for more than "
            f"{DEAD_SECONDS:.0f} s; let it end, then run the same command again"
        )


def _acquire(lease: Lease, wait_seconds: float) -> None:
    """Look until nobody else has or wants the workspace, only then put a claim down, look again.

    Claims of all who wait would keep each other from seeing nobody.
    """
    begun = time.monotonic()
    watched: dict[tuple[str, Any], float] = {}
    told = placed = False
    for beat in itertools.count():
        if not placed:
            alive, dead = _sorted(lease, watched)
        if placed or not alive:
            lease.write(beat)
            placed = True
            alive, dead = _sorted(lease, watched)
            if not alive:
                break
        first = placed and _first(lease, alive)
        owner = min(alive.values(), key=lambda claim: str(claim.get("since")))
        who = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
        if time.monotonic() - begun >= max(wait_seconds, CONTEST_SECONDS if first else 0.0):
            raise BusyError(
                f"{lease.storage.uri} is being written by {who}; let that run end, or give "
                "--wait SECONDS to queue behind it"
            )
        if placed and not first:
            lease.storage.remove(lease.name)
            placed = False
        if not (first or told):
            log.warning(f"waiting for {who}", workspace=lease.storage.uri)
            told = True
        time.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))
    lease.claim["held"] = True
    lease.write(beat + 1)
    for path in dead:
        lease.storage.remove(path)


def _sorted(
    lease: Lease, watched: dict[tuple[str, Any], float]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Claims of the living, and names of those of the dead."""
    others = lease.others()
    dead = [path for path, claim in others.items() if _gone(path, claim, watched)]
    return {path: claim for path, claim in others.items() if path not in dead}, dead


def _first(lease: Lease, alive: dict[str, dict[str, Any]]) -> bool:
    """Whether all are still contending and this claim comes first: it stays, the others go."""
    contending = not any(claim.get("held") for claim in alive.values())
    return contending and lease.name < min(alive)


def _gone(path: str, claim: dict[str, Any], watched: dict[tuple[str, Any], float]) -> bool:
    """Whether a claim's owner is dead: its process is not here any more, or its beat stands."""
    mine = _myself()
    if all(claim.get(name) == mine[name] for name in ("host", "boot", "pids")):
        try:
            process = psutil.Process(int(claim["pid"]))
            same = abs(_started(process) - claim["started"]) < SAME_SECONDS
            if not same or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except (psutil.Error, KeyError, TypeError, ValueError):
            return True
    now = time.monotonic()
    return now - watched.setdefault((path, claim.get("beat")), now) >= DEAD_SECONDS


def _myself() -> dict[str, Any]:
    """This process, so that others can tell whether it still runs."""
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
