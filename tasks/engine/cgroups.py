"""Limits of the control groups that this process is in: processors, and memory that is left.

Dask's own figures read the topmost group of usual mounts; a group below it, a controller that is
mounted under another name and the memory that others of the group use already are seen here only.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

UNIFIED = "cgroup2"
RECLAIMABLE = {
    UNIFIED: ("inactive_file", "active_file", "slab_reclaimable"),
    "cgroup": ("total_inactive_file", "total_active_file"),
}
"""Lines of memory.stat that count what the kernel gives back when somebody needs it."""
USED = {UNIFIED: "memory.current", "cgroup": "memory.usage_in_bytes"}
LIMITS = {UNIFIED: ("memory.max", "memory.high"), "cgroup": ("memory.limit_in_bytes",)}


class Mount(NamedTuple):
    """A hierarchy of groups.

    Attributes:
        kind: cgroup2, or cgroup for version 1.
        controllers: what a hierarchy of version 1 limits.
        root: the group that is mounted.
        place: where it is mounted.
    """

    kind: str
    controllers: frozenset[str]
    root: PurePosixPath
    place: Path


def processors(root: Path = Path("/")) -> float | None:
    """Processors that the quotas of this process's groups allow; None without a quota."""
    found = [quota for folder in groups("cpu", root) for quota in _quotas(folder)]
    return min(found, default=None)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process's groups may still take; None without a limit.

    What a group has in the page cache is not counted as used: it is given back on demand.
    """
    left = []
    for kind, folder in _folders("memory", root):
        limits = [_number(folder / name) for name in LIMITS[kind]]
        limit = min((number for number in limits if number is not None), default=None)
        used = _number(folder / USED[kind])
        if limit is not None and used is not None:
            left.append(max(limit - max(used - _reclaimable(kind, folder), 0), 0))
    return min(left, default=None)


def groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of this process's groups under a controller, from its own one upwards."""
    return (folder for _, folder in _folders(controller, root))


def _folders(controller: str, root: Path) -> Iterator[tuple[str, Path]]:
    mounts = _mounts(root)
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        named, _, path = rest.partition(":")
        kind = UNIFIED if number == "0" and not named else "cgroup"
        if kind == "cgroup" and controller not in named.split(","):
            continue
        for mount in mounts:
            if mount.kind == kind and (kind == UNIFIED or controller in mount.controllers):
                for folder in _upwards(mount, PurePosixPath(path)):
                    yield kind, folder


def _upwards(mount: Mount, path: PurePosixPath) -> Iterator[Path]:
    """A group's folder and those of the groups around it, as far as they are mounted."""
    below = path.relative_to(mount.root) if path.is_relative_to(mount.root) else PurePosixPath()
    # A container may see its group's name on the host, and only its own groups are mounted.
    if ".." in below.parts or not (mount.place / below).is_dir():
        below = PurePosixPath()
    yield mount.place / below
    for parent in below.parents if below.parts else ():
        yield mount.place / parent


def _mounts(root: Path) -> list[Mount]:
    """The hierarchies that are mounted; proc(5) describes the lines of mountinfo."""
    found = []
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in USED:
            continue
        place = root / fields[4].lstrip("/").replace("\\040", " ")
        controllers = frozenset(kinds[2].split(","))
        found.append(Mount(kinds[0], controllers, PurePosixPath(fields[3]), place))
    return found


def _quotas(folder: Path) -> Iterator[float]:
    lines = _lines(folder / "cpu.max")  # version 2: "200000 100000", or "max 100000"
    if lines:
        quota, _, period = lines[0].partition(" ")
        if quota != "max":
            yield int(quota) / int(period or 100_000)
    quota_us = _number(folder / "cpu.cfs_quota_us")
    period_us = _number(folder / "cpu.cfs_period_us")
    if quota_us and period_us and quota_us > 0:  # version 1: -1 is no quota
        yield quota_us / period_us


def _reclaimable(kind: str, folder: Path) -> int:
    pairs = [line.split() for line in _lines(folder / "memory.stat")]
    return sum(int(value) for name, value in pairs if name in RECLAIMABLE[kind])


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or "max" in it."""
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # no such controller, or no Linux
        return []
