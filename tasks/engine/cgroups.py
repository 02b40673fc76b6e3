"""Limits of the control groups that this process is in: processors, and memory that is left.

Dask reads the topmost group of usual mounts only. It does not see the limits of a group below, a
controller that is mounted under another name, or the memory that others of the group use already.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Files(NamedTuple):
    """Files of a group's memory."""

    limits: tuple[str, ...]  # hold its limits
    used: str  # holds the bytes in use
    reclaimable: tuple[str, ...]  # lines of memory.stat: bytes that are given back on demand


VERSIONS = {
    "cgroup2": Files(
        ("memory.max", "memory.high"),
        "memory.current",
        ("inactive_file", "active_file", "slab_reclaimable"),
    ),
    "cgroup": Files(
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}
"""The files of version 2 and version 1, by the type of their file system."""
MOUNT = re.compile(r"\S+ \S+ \S+ (\S+) (\S+) .* - (cgroup2?) \S+ (\S+)")
"""Root group, folder, type and controllers of a line of mountinfo, see proc(5)."""


def processors(root: Path = Path("/")) -> float | None:
    """Processors that the quotas of this process's groups allow; None without a quota."""
    quotas = (quota for _, folder in groups("cpu", root) for quota in _quotas(folder))
    return min(quotas, default=None)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process's groups may still take; None without a limit.

    The page cache of a group does not count as used: it is given back on demand.
    """
    free = []
    for files, folder in groups("memory", root):
        limits = [limit for name in files.limits if (limit := _number(folder / name)) is not None]
        used = _number(folder / files.used)
        if limits and used is not None:
            lines = [line.split() for line in _lines(folder / "memory.stat")]
            cached = sum(int(value) for name, value in lines if name in files.reclaimable)
            free.append(max(min(limits) - max(used - cached, 0), 0))
    return min(free, default=None)


def groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[Files, Path]]:
    """This process's groups under a controller, from its own one upwards: files and folder."""
    memberships = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
    for mount in filter(None, map(MOUNT.match, _lines(root / "proc/self/mountinfo"))):
        top, mount_point, version, mounted = mount.groups()
        mount_folder = root / mount_point.lstrip("/").replace("\\040", " ")
        for _, controllers, group in memberships:
            both = controller in controllers.split(",") and controller in mounted.split(",")
            if (not controllers) if version == "cgroup2" else both:
                for folder in _upwards(mount_folder, PurePosixPath(top), PurePosixPath(group)):
                    yield VERSIONS[version], folder


def _upwards(mount: Path, top: PurePosixPath, group: PurePosixPath) -> Iterator[Path]:
    """A group's folder and those of the groups around it, as far as they are mounted."""
    below = group.relative_to(top) if group.is_relative_to(top) else PurePosixPath()
    # A container may see its group's name on the host, and only its own groups are mounted.
    if ".." in below.parts or not (mount / below).is_dir():
        below = PurePosixPath()
    return (mount / folder for folder in (below, *below.parents))


def _quotas(folder: Path) -> Iterator[float]:
    for line in _lines(folder / "cpu.max"):  # version 2: "200000 100000", or "max 100000"
        quota, _, period = line.partition(" ")
        if quota != "max":
            yield int(quota) / int(period or 100_000)
    quota_us, period_us = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota_us and period_us and quota_us > 0:  # version 1: -1 is no quota
        yield quota_us / period_us


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or "max" in it."""
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # no such controller, or no Linux
        return []
