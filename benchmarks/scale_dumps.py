"""How a night, the status, the report and the explorer's first page grow with the dumps there.

    python benchmarks/scale_dumps.py --dumps 1 100 1000

A workspace is made of one dump, one more is labelled by a backfill, and that one is copied under
other names: as many dumps as are asked for, without any work on pixels. Then one more dump comes
into the inbox and a night is measured: `backfill` with plan, finish, report and poll. Requests are
those of a store in memory that counts them, a listing one for every 1,000 names; seconds are those
of the same on this disk. `--labelled` gives every dump labels, so that it is scored, too.

    python benchmarks/scale_dumps.py --nights 300 --per-dump 2 --store memory

No dump is copied: so many nights, one after another in one process, each a whole backfill of a new
dump. Nights 1, 2, 3, 5, 10, 20, 30, 50, 100, … are told, each beside the means of those since, and
beside what is held after it: memory of this process, of the store in it and of Prefect's server,
its database, Python's objects, threads, open files, temporary files.
"""

import argparse
import gc
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import harness
import psutil
from fsspec.implementations.memory import MemoryFileSystem

NAMES_AT_ONCE = 1000
"""Names that an object store lists in one answer."""
KIND = re.compile(r"night-\d+|[0-9a-f]{16,}|\d{3,}")
"""What differs between paths of one kind."""
TOLD = {step * 10**power for step in (1, 2, 3, 5) for power in range(4)}
"""Nights whose figures are printed."""
COPIED, TRAIN = "night-00000", "train"
OPTIONS = {
    "features": {"crop_size": 64},
    "neighbors": {"k": 4},
    "head": {"steps": 2},
    "clusters": {"classes": 7, "restarts": 1},
    "masks": {"resolution": 64, "crf_iterations": 0, "overlays": False},
    "scores": {"baseline": False, "linear_probe": False},
    "compute": {"executor": "loop"},
}


class Counted(MemoryFileSystem):
    """A store in memory that counts what is asked of it; its size does not slow it down."""

    protocol = ("counted",)
    root_marker = "/"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[Counter[str]] = Counter()
    kinds: ClassVar[Counter[str]] = Counter()
    read = written = 0

    @classmethod
    def count(cls, operation: str, path: str, names: int = 0) -> None:
        """Count a request; a listing is one for every NAMES_AT_ONCE names."""
        requests = max(1, -(-names // NAMES_AT_ONCE))
        cls.asked[operation] += requests
        cls.kinds[f"{operation} {KIND.sub('*', str(path))}"] += requests

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(str(path).replace("counted://", "memory://"))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **more: Any) -> bytes:
        Counted.count("read", path)
        content = bytes(super().cat_file(path, start, end, **more))
        Counted.read += len(content)
        return content

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        Counted.count("write", path)
        Counted.written += len(value)
        super().pipe_file(path, value, mode=mode, **more)

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        Counted.count("open", path)
        return super()._open(path, mode, **more)

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        names = super().ls(path, detail, **more)
        Counted.count("list", path, len(names))
        return names

    def find(self, path: str, *given: Any, **more: Any) -> Any:
        found = {name: entry for name, entry in self.store.items() if self._below(name, path)}
        Counted.count("list", path, len(found))
        infos = {
            name: {"name": name, "size": entry.size, "type": "file", "created": entry.created}
            for name, entry in sorted(found.items())
        }
        return infos if more.get("detail") else list(infos)

    def _below(self, name: str, path: str) -> bool:
        root = self._strip_protocol(path).rstrip("/")
        return name == root or name.startswith(root + "/")

    def info(self, path: str, **more: Any) -> Any:
        Counted.count("look", path)
        return super().info(path, **more)

    def exists(self, path: str, **more: Any) -> bool:
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def rm_file(self, path: str) -> None:
        Counted.count("remove", path)
        super().rm_file(path)


def counted(call: Callable[[], Any]) -> dict[str, Any]:
    """Requests and bytes of a call."""
    Counted.asked.clear()
    Counted.kinds.clear()
    Counted.read = Counted.written = 0
    call()
    kinds = dict(sorted(Counted.asked.items()))
    total = sum(kinds.values())
    return {"requests": total, **kinds, "read_kb": Counted.read >> 10} | {
        "written_kb": Counted.written >> 10
    }


def fill(root: str, folder: str, files: list[Path]) -> None:
    """Copy images, or labels, into a folder of the benchmark's place."""
    filesystem, _ = fsspec.core.url_to_fs(root)
    filesystem.makedirs(f"{root}/{folder}", exist_ok=True)
    for file in files:
        filesystem.pipe_file(f"{root}/{folder}/{file.name}", file.read_bytes())


def label(root: str) -> Any:
    """A poll of the inbox, and a backfill of what is new there."""
    from flows.runs.backfill import backfill
    from tasks.options import ComputeOptions, InboxOptions

    inbox = InboxOptions(inbox=f"{root}/inbox", quiet_minutes=0)
    return backfill(f"{root}/ws", inbox=inbox, compute_options=ComputeOptions(executor="loop"))


def begin(root: str, files: list[Path], chosen: argparse.Namespace) -> None:
    """A workspace of a training dump, and of the dump that is copied."""
    from flows.runs.pipeline import pipeline
    from flows.runs.settings import FormOptions

    fill(root, TRAIN, files)
    fill(root, f"inbox/{COPIED}", files[: chosen.per_dump])
    features = {**OPTIONS["features"], **harness.backbone_options(chosen)}
    options = FormOptions(**{**OPTIONS, "features": features})
    pipeline(images=f"{root}/{TRAIN}", workspace=f"{root}/ws", dump=TRAIN, options=options)
    label(root)


def multiply(root: str, first: int, last: int) -> None:
    """Copy the backfilled dump under other names, with its folders and its images."""
    filesystem, _ = fsspec.core.url_to_fs(root)
    start = filesystem._strip_protocol(root)
    files = {str(name): filesystem.cat_file(name) for name in filesystem.find(start)}
    current = json.loads(files[f"{start}/ws/current.json"])
    copied = {name: content for name, content in files.items() if f"/{COPIED}" in name}
    table = current["neighbors"][COPIED]
    for number in range(first, last):
        name, own = f"night-{number:05d}", f"{number:016x}"
        for path, content in copied.items():
            target = path.replace(COPIED, name).replace(table, own)
            if path.endswith(".json"):
                content = content.replace(COPIED.encode(), name.encode())
                content = content.replace(b'"sequence": 1,', b'"sequence": %d,' % (number + 1))
            filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            filesystem.pipe_file(target, content)
        current["neighbors"][name] = own
        for kind in ("drift", "scores"):
            if COPIED in current[kind]:
                current[kind][name] = current[kind][COPIED]
    filesystem.pipe_file(f"{start}/ws/current.json", json.dumps(current, indent=1).encode())


def night(root: str, number: int, files: list[Path]) -> None:
    """A new folder in the inbox."""
    fill(root, f"inbox/night-{number:05d}", files)


def parts(root: str) -> dict[str, Callable[[], Any]]:
    """What is measured beside a night."""
    from flows.explorer.state import Explorer
    from tasks.browse import gallery
    from tasks.report import status
    from tasks.workspace.summary import Summary
    from tasks.workspace.workspace import Workspace

    def first_page() -> None:
        explorer = Explorer(Workspace.open(f"{root}/ws"))
        explorer.renew()
        gallery.overview(explorer.workspace)
        gallery.page(explorer.workspace)

    return {
        "status": lambda: status.document(Summary(Workspace.open(f"{root}/ws"))),
        "first page": first_page,
        "poll": lambda: label(root),
    }


def measure(root: str, files: list[Path], chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """A night, and the parts, with 1, 100, … dumps there."""
    rows, there = [], 1
    begin(root, files, chosen)
    label(root)  # imports and what a process does once
    for dumps in chosen.dumps:
        multiply(root, there, dumps)
        for number in (dumps, dumps + 1):  # the first night catches up with what was copied
            night(root, number, files[: chosen.per_dump])
            if number == dumps:
                label(root)
        there = dumps + 2
        calls = {"night": lambda: label(root), **parts(root)}
        for part, call in calls.items():
            begun = time.perf_counter()
            figures = counted(call)
            seconds = round(time.perf_counter() - begun, 3)
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            figures |= {"dumps": dumps, "part": part, "seconds": seconds, "peak_mib": held}
            rows.append(figures)
            print(json.dumps(figures), flush=True)
            for kind, requests in Counted.kinds.most_common(chosen.kinds):
                print(f"  {requests:6d} {kind}")
        rows.append({"dumps": dumps, "part": "page", **sizes(root)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def nights(root: str, files: list[Path], chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """So many nights, each of which labels a dump of its own."""
    begin(root, files, chosen)
    label(root)  # imports and what a process does once
    rows, since = [], list[tuple[float, float]]()
    for number in range(1, chosen.nights + 1):
        night(root, number, files[: chosen.per_dump])
        begun = time.perf_counter(), time.process_time()
        figures = counted(lambda: label(root))
        since.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        if number not in TOLD and number != chosen.nights:
            continue
        seconds, processor = (round(sum(each) / len(since), 2) for each in zip(*since, strict=True))
        figures |= {"night": number, "mean_seconds": seconds, "mean_processor": processor}
        rows.append(figures | held() | sizes(root))
        print(json.dumps(rows[-1]), flush=True)
        for kind, requests in Counted.kinds.most_common(chosen.kinds):
            print(f"  {requests:6d} {kind}")
        since.clear()
    return rows


def held() -> dict[str, int]:
    """What this process and Prefect's server hold by now."""
    gc.collect()
    own = psutil.Process()
    temporary = [file for file in Path(tempfile.gettempdir()).rglob("*") if file.is_file()]
    database = Path(os.environ["PREFECT_HOME"]).glob("prefect.db*")
    return {
        "own_mib": own.memory_info().rss >> 20,
        "store_mib": sum(file.getbuffer().nbytes for file in Counted.store.values()) >> 20,
        "server_mib": sum(child.memory_info().rss for child in own.children()) >> 20,
        "database_mib": sum(file.stat().st_size for file in database) >> 20,
        "objects": len(gc.get_objects()),
        "threads": own.num_threads(),
        "open_files": own.num_fds(),
        "temporary_files": len(temporary),
    }


def sizes(root: str) -> dict[str, int]:
    """Bytes of the report's page and of what is rewritten every night."""
    filesystem, _ = fsspec.core.url_to_fs(root)
    start = filesystem._strip_protocol(root)
    names = {"report": "reports/latest/index.html", "current": "current.json"}
    names["catalog"] = "catalog.json"
    return {
        f"{name}_kb": filesystem.size(f"{start}/ws/{path}") >> 10
        for name, path in names.items()
        if filesystem.exists(f"{start}/ws/{path}")
    }


def main() -> None:
    made = harness.parser(__doc__, images=12, workers=1)
    made.add_argument("--dumps", type=int, nargs="+", default=(1, 100, 1000), help="dumps there")
    made.add_argument("--nights", type=int, default=0, help="whole nights instead of copies")
    made.add_argument("--per-dump", type=int, default=4, help="images of a dump")
    made.add_argument("--store", choices=("memory", "disk", "both"), default="both")
    made.add_argument("--kinds", type=int, default=0, help="kinds of requests that are printed")
    chosen = made.parse_args()
    fsspec.register_implementation("counted", Counted, clobber=True)
    if chosen.store == "both":  # each in a process of its own: memory is that of the disk's
        for store in ("memory", "disk"):
            subprocess.run([sys.executable, *sys.argv, "--store", store], check=True)
        return
    with harness.scratch(chosen) as folder:
        files = harness.found_images(chosen, folder)
        (folder / "temporary").mkdir()
        tempfile.tempdir = str(folder / "temporary")
        root = "counted://bench" if chosen.store == "memory" else str(folder / "bench")
        rows = (nights if chosen.nights else measure)(root, files, chosen)
    harness.RESULTS.mkdir(parents=True, exist_ok=True)
    kind = "nights" if chosen.nights else "scale_dumps"
    target = harness.RESULTS / f"{kind}_{chosen.store}.json"
    target.write_text(json.dumps({"machine": harness.machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
