"""A container's limits are seen wherever they are set: both versions, nested, made up and real."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import torch

from stego_core.errors import CapacityError
from tasks.engine import cgroups, compute, machine
from tasks.options import ComputeOptions

GIB = 2**30
UNLIMITED = "9223372036854771712"
V2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1_MEMORY = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_CPU = "32 31 0:29 {root} /sys/fs/cgroup/{place} rw - cgroup cgroup rw,cpu,cpuacct"


def system(folder: Path, mounts: list[str], own: str, files: Mapping[str, str]) -> Path:
    """A root folder as /proc and /sys/fs/cgroup would show it."""
    proc = folder / "proc/self"
    proc.mkdir(parents=True)
    (proc / "mountinfo").write_text("\n".join(mounts) + "\n")
    (proc / "cgroup").write_text(own)
    for name, content in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


class TestVersion2:
    def test_of_a_container_that_sees_its_own_group_alone(self, tmp_path: Path) -> None:
        files = {
            "cpu.max": "200000 100000\n",
            "memory.max": f"{3 * GIB}\n",
            "memory.current": f"{2 * GIB}\n",
            "memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file {GIB // 4}\n",
        }
        root = system(tmp_path, [V2], "0::/\n", files)
        assert cgroups.processors(root) == 2
        assert cgroups.free_memory(root) == GIB + GIB * 3 // 4

    def test_the_tightest_of_nested_groups_counts(self, tmp_path: Path) -> None:
        files = {
            "pod/cpu.max": "150000 100000\n",
            "pod/inner/cpu.max": "max 100000\n",
            "pod/memory.max": f"{3 * GIB}\n",
            "pod/memory.current": f"{GIB}\n",
            "pod/inner/memory.max": "max\n",
            "pod/inner/memory.high": f"{8 * GIB}\n",
            "pod/inner/memory.current": "0\n",
        }
        root = system(tmp_path, [V2], "0::/pod/inner\n", files)
        assert cgroups.processors(root) == 1.5
        assert cgroups.free_memory(root) == 2 * GIB

    @pytest.mark.parametrize("own", ["0::/../..\n", "0::/docker/1234\n"])
    def test_a_name_that_is_the_hosts_means_what_is_mounted(self, own: str, tmp_path: Path) -> None:
        root = system(tmp_path, [V2], own, {"cpu.max": "300000 100000\n"})
        assert cgroups.processors(root) == 3

    def test_without_limits(self, tmp_path: Path) -> None:
        files = {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": "5\n"}
        root = system(tmp_path, [V2], "0::/\n", files)
        assert cgroups.processors(root) is None
        assert cgroups.free_memory(root) is None

    def test_more_used_than_allowed_leaves_nothing(self, tmp_path: Path) -> None:
        files = {"memory.max": "100\n", "memory.current": "300\n"}
        assert cgroups.free_memory(system(tmp_path, [V2], "0::/\n", files)) == 0


class TestVersion1:
    @pytest.mark.parametrize("place", ["cpu", "cpu,cpuacct", "cpuacct,cpu", "elsewhere"])
    def test_wherever_a_controller_is_mounted(self, place: str, tmp_path: Path) -> None:
        files = {f"{place}/cpu.cfs_quota_us": "200000", f"{place}/cpu.cfs_period_us": "100000"}
        mounts = [V1_CPU.format(root="/", place=place)]
        root = system(tmp_path, mounts, "1:cpu,cpuacct:/\n", files)
        assert cgroups.processors(root) == 2

    def test_a_group_of_the_host_that_is_mounted_as_the_root(self, tmp_path: Path) -> None:
        files = {
            "memory/memory.limit_in_bytes": f"{3 * GIB}",
            "memory/memory.usage_in_bytes": f"{2 * GIB}",
            "memory/memory.stat": f"cache 1\ntotal_inactive_file {GIB}\ntotal_active_file 0\n",
        }
        mounts = [V1_MEMORY.format(root="/docker/1234")]
        root = system(tmp_path, mounts, "4:memory:/docker/1234\n", files)
        assert cgroups.free_memory(root) == 2 * GIB

    def test_a_group_below_one_with_a_limit(self, tmp_path: Path) -> None:
        files = {
            "memory/a/memory.limit_in_bytes": f"{GIB}",
            "memory/a/memory.usage_in_bytes": "0",
            "memory/a/b/memory.limit_in_bytes": UNLIMITED,
            "memory/a/b/memory.usage_in_bytes": "0",
        }
        root = system(tmp_path, [V1_MEMORY.format(root="/")], "4:memory:/a/b\n", files)
        assert cgroups.free_memory(root) == GIB

    def test_no_quota(self, tmp_path: Path) -> None:
        files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
        mounts = [V1_CPU.format(root="/", place="cpu")]
        assert cgroups.processors(system(tmp_path, mounts, "1:cpu,cpuacct:/\n", files)) is None


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert cgroups.processors(tmp_path) is None
    assert cgroups.free_memory(tmp_path) is None


class TestMachine:
    @pytest.mark.parametrize(
        ("quota", "expected"), [(1.5, 2), (0.1, 1), (3.0, 3), (64.0, 8), (None, 8)]
    )
    def test_cores_under_a_quota(
        self, quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _: range(8))
        monkeypatch.setattr(cgroups, "processors", lambda: quota)
        assert machine.cores() == expected
        assert machine.workers(ComputeOptions()) == expected

    def test_a_plan_is_measured_against_what_the_group_leaves(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _: range(2))
        monkeypatch.setattr(cgroups, "free_memory", lambda: 3 * GIB)
        assert machine.free_memory() <= 3 * GIB
        machine.require_memory("masks", GIB // 4, ComputeOptions())
        with pytest.raises(CapacityError, match=r"2\.0 GiB on each of 2 workers, and .* GiB are"):
            machine.require_memory("masks", 2 * GIB, ComputeOptions())

    def test_what_the_machine_lacks_the_group_cannot_give(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cgroups, "free_memory", lambda: 2**60)
        assert machine.free_memory() <= psutil.virtual_memory().total

    def test_libraries_use_no_more_threads_than_the_quota(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "cores", lambda: 2)
        before = torch.get_num_threads()
        torch.set_num_threads(5)
        try:
            with compute.executor(ComputeOptions(executor="loop")):
                assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


SEEN = """
import json
from tasks.engine import machine
from tasks.options import ComputeOptions
print(json.dumps([machine.cores(), machine.free_memory(), machine.workers(ComputeOptions())]))
"""


def seen(*prefix: str) -> list[int]:
    """What a process sees that is started so."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SEEN],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


LIMITS = {
    "cpu": {"cpu.cfs_quota_us": "50000", "cpu.max": "50000 100000"},
    "memory": {"memory.limit_in_bytes": str(3 * GIB), "memory.max": str(3 * GIB)},
}


def limited(controller: str) -> Path:
    """A group of this kernel below a new one that has the limit."""
    for _, top in reversed(list(cgroups.groups(controller))):
        outer = top / f"stego-test-{os.getpid()}"
        outer.mkdir()
        (outer / "inner").mkdir()
        written = [name for name in LIMITS[controller] if (outer / name).exists()]
        for name in written:
            (outer / name).write_text(LIMITS[controller][name])
        if written:
            return outer / "inner"
        removed(outer / "inner")
    pytest.skip(f"no group here has the controller {controller}")


def removed(inner: Path) -> None:
    """Take both groups away again; the inner one first."""
    for folder in (inner, inner.parent):
        folder.rmdir()


@pytest.fixture
def real_groups() -> Iterator[list[Path]]:
    """Half a processor and 3 GiB."""
    with ExitStack() as stack:
        made = []
        for controller in LIMITS:
            try:
                made.append(limited(controller))
            except OSError as error:
                pytest.skip(f"control groups cannot be made here: {error}")
            stack.callback(removed, made[-1])
        yield made


def test_real_groups_are_seen(real_groups: list[Path]) -> None:
    entered = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in real_groups)
    cores, free, workers = seen("sh", "-c", entered + 'exec "$@"', "sh")
    assert cores == workers == 1
    assert free <= 3 * GIB


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_counts() -> None:
    cores, _, workers = seen("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    assert cores == workers == 1
