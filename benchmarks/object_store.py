"""Work on an S3 server beside work on the local disk, stage by stage.

    python benchmarks/object_store.py --images DIR --weights FILE --repeats 3

Both the images and the workspace lie on the S3 server (OpenStack Swift, started for this run on a
free port of this machine) or both on the disk that the server uses as well. Each stage runs on one
side, then on the other, in turns. Dask workers do the work on both sides; Prefect takes no part,
because its share would hide differences. Training loads its features once, as it does by default
where they fit the memory; the row "head, streamed" reads each batch from the store instead
(`--feature-memory 0`), and is in no sum.
The server shares the cores: leave it one by giving fewer --workers than there are cores.
Before a stage the system is asked to drop all files of both sides from its page cache; whether
it does is up to the file system. `--keep-cache` leaves that out.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import harness
import plain
import s3_requests
from harness import Headline, Row

GOAL = 0.8
DUMP = "images"
SIDES = ("S3", "disk")
WARM_UP = 8
"""Images that go through all stages before anything is timed."""
UNITS = {"corpus": "images/s", "features": "images/s", "neighbors": "images/s"} | {
    "head": "steps/s",
    "streamed": "steps/s",
    "clusters": "images/s",
    "masks": "images/s",
}
APART = "streamed"
NAMED = {
    "streamed": "head, streamed",
    "masks": "masks: codes, CRF, PNG and overlay",
}


class Side(NamedTuple):
    """Where one side's images and its workspace lie, and what the stages before have left."""

    name: str
    images: str
    workspace: str
    keys: dict[str, str]


class Measured(NamedTuple):
    """One stage on one side."""

    side: str
    stage: str
    seconds: float
    requests: s3_requests.Requests


def stage_calls(side: Side, chosen: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """The stages from image to mask, each as a call that leaves its key behind."""
    from flows.runs import stages
    from tasks import options as o
    from tasks.features.rows import FeatureRows, feature_rows
    from tasks.workspace.workspace import Workspace

    compute = compute_options(chosen)
    streamed = compute.model_copy(update={"feature_memory": 0})
    place, keys = Workspace.create(side.workspace), side.keys
    features = o.FeaturesOptions(**harness.backbone_options(chosen))
    head = o.HeadOptions(steps=chosen.steps, seed=chosen.seed)
    clusters = o.ClustersOptions(classes=7, restarts=3, seed=chosen.seed)
    near = o.NeighborsOptions(k=8)

    def rows() -> FeatureRows:
        return feature_rows(place, keys["features"], [DUMP])

    def train(options: o.HeadOptions, where: o.ComputeOptions) -> str:
        return stages.head_flow(rows(), keys["neighbors"], options, where)

    def keep(name: str, call: Callable[[], str]) -> Callable[[], None]:
        return lambda: keys.update({name: call()})

    return {
        "corpus": lambda: stages.corpus_flow(place, DUMP, o.CorpusOptions(images=side.images)),
        "features": keep("features", lambda: stages.features_flow(place, DUMP, features, compute)),
        "neighbors": keep(
            "neighbors",
            lambda: stages.neighbors_flow(rows(), DUMP, near, compute),
        ),
        "head": keep("head", lambda: train(head, compute)),
        APART: lambda: train(head.model_copy(update={"seed": chosen.seed + 1}), streamed),
        "clusters": keep(
            "clusters",
            lambda: stages.clusters_flow(rows(), keys["head"], clusters, compute),
        ),
        "masks": keep(
            "masks",
            lambda: stages.masks_flow(place, DUMP, keys["clusters"], o.MasksOptions(), compute),
        ),
    }


def compute_options(chosen: argparse.Namespace) -> Any:
    from tasks.options import ComputeOptions

    return ComputeOptions(workers=chosen.workers, device=chosen.device)


def measured(
    sides: list[Side], chosen: argparse.Namespace, executor: Any, drop: Callable[[], None]
) -> Iterator[Measured]:
    """Every stage on every side; the sides take turns."""
    calls = {side.name: stage_calls(side, chosen) for side in sides}
    for stage in UNITS:
        for side in sides:
            drop()
            requests_so_far(executor)
            begun = time.perf_counter()
            calls[side.name][stage]()
            seconds = time.perf_counter() - begun
            yield Measured(side.name, stage, seconds, requests_so_far(executor))


def checksums(side: Side) -> list[str]:
    """Of each shard's masks."""
    from tasks.workspace.workspace import Workspace

    folder = Workspace.open(side.workspace).folder("masks", side.keys["masks"], DUMP)
    return [record.checksum for record in folder.records(folder.manifest()["shards"])]


def requests_so_far(executor: Any) -> s3_requests.Requests:
    """Requests of this process and of all workers since the last call."""
    workers = executor.client.run(s3_requests.taken).values()
    return s3_requests.merged([s3_requests.taken(), *workers])


def forget(folder: Path) -> None:
    """Ask the system to drop the files of a folder from its page cache."""
    os.sync()  # pages that still have to be written cannot be dropped
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                descriptor = os.open(os.path.join(root, name), os.O_RDONLY)
            except OSError:
                continue
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A bucket of a server whose data lie in `folder`, as a URI; AWS_* lead to it."""
    sys.path.insert(0, str(harness.ROOT / "tests" / "services"))
    from swift_server import swift_server

    folder.mkdir()
    with swift_server(folder) as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            os.environ[name] = os.devnull
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        os.environ.update(server.environment())
        yield f"s3://{server.bucket()}"


def upload(folder: Path, uri: str) -> str:
    """The files of a folder under a URI; returns the URI."""
    from tasks.storage.storage import Storage

    for file in sorted(folder.iterdir()):
        Storage(uri).write(file.name, file.read_bytes())
    return uri


def main() -> None:
    from tasks.engine import machine

    cores = machine.cores()
    made = harness.parser(__doc__, images=24, workers=max(cores - 1, 1))
    made.add_argument("--keep-cache", action="store_true", help="leave the page cache alone")
    made.add_argument("--most", type=int, default=0, help="also list the objects asked for most")
    chosen = made.parse_args()
    with harness.scratch(chosen) as folder, served(folder / "s3") as bucket:
        files = harness.found_images(chosen, folder)
        disk = harness.copied(files, folder / "images")
        few = harness.copied(files[:WARM_UP], folder / "few")
        places = {
            "S3": (upload(disk, f"{bucket}/images"), upload(few, f"{bucket}/few"), bucket),
            "disk": (str(disk), str(few), str(folder)),
        }

        def sides(number: int, which: int) -> list[Side]:
            made = [
                Side(name, places[name][which], f"{places[name][2]}/workspace-{which}{number}", {})
                for name in SIDES
            ]
            return made if number % 2 == 0 else made[::-1]

        def drop() -> None:
            if not chosen.keep_cache:
                forget(folder)

        from tasks.engine import compute

        before = harness.machine()
        found: list[Measured] = []
        same = True
        with (
            compute.executor(compute_options(chosen)) as executor,
            plain.without_prefect(plain.run_on(executor)),
        ):
            for install in (s3_requests.install, lambda: executor.client.run(s3_requests.install)):
                install()
            list(measured(sides(0, 1), chosen, executor, lambda: None))
            for repeat in range(chosen.repeats):
                both = sides(repeat, 0)
                for one in measured(both, chosen, executor, drop):
                    found.append(one)
                    print(f"{repeat + 1}: {one.stage:<10} {one.side:<5} {one.seconds:.2f} s")
                same = same and checksums(both[0]) == checksums(both[1])
    show(chosen, len(files), found, "the same" if same else "DIFFERENT", before)


def show(
    chosen: argparse.Namespace, count: int, found: list[Measured], same: str, before: dict[str, Any]
) -> None:
    """Tables and file."""
    times = {
        (side, stage): [m.seconds for m in found if (m.side, m.stage) == (side, stage)]
        for side in SIDES
        for stage in UNITS
    }
    totals = {
        side: [
            sum(parts) for parts in zip(*(times[side, s] for s in UNITS if s != APART), strict=True)
        ]
        for side in SIDES
    }
    rows = []
    for stage, unit in UNITS.items():
        amount = chosen.steps if UNITS[stage] == "steps/s" else count
        rates = [[amount / t for t in times[side, stage]] for side in SIDES]
        rows.append(Row(NAMED.get(stage, stage), *rates, unit))
    rates = [[count / t for t in totals[side]] for side in SIDES]
    total = Row("from image to mask, all stages", *rates, "images/s")
    asked = {stage: requests_of(found, stage, count) for stage in UNITS}
    cached = "left alone" if chosen.keep_cache else "dropped before each stage, as far as it obeys"
    notes = [
        f"from image to mask: {total.ratio:.2f} of the disk's speed (goal: at least {GOAL})",
        f"page cache: {cached}; the disk is the same for both sides",
        f"the S3 server runs beside {chosen.workers} workers on {before['cores']} cores",
        "\nrequests and bytes of one run:",
        f"{'':<10} {'requests':>9} {'per image':>10} {'MB in':>8} {'MB out':>8}  by operation",
    ]
    for stage, one in asked.items():
        kinds = ", ".join(f"{name} {number}" for name, number in one["operations"].items())
        notes.append(
            f"{stage:<10} {one['requests']:>9} {one['per_image']:>10.2f} "
            f"{one['received'] / 1e6:>8.1f} {one['sent'] / 1e6:>8.1f}  {kinds}"
        )
        notes += [f"{'':<12}{number:>5} × {what}" for what, number in one["most"][: chosen.most]]
    harness.report(
        "object_store",
        SIDES,
        [*rows, total],
        Headline(total, GOAL, f"checksums of the masks: {same}"),
        harness.data_of(chosen, count),
        before,
        notes,
        requests=asked,
    )


def requests_of(found: list[Measured], stage: str, count: int) -> dict[str, Any]:
    """Requests of one run of a stage on S3, and the objects that were asked for most."""
    one = next(m.requests for m in found if (m.side, m.stage) == ("S3", stage))
    operations: Counter[str] = Counter()
    for (operation, _), number in one.asked.items():
        operations[operation] += number
    most = [(f"{operation} {key}", number) for (operation, key), number in one.asked.most_common(9)]
    return {
        "requests": one.asked.total(),
        "per_image": round(one.asked.total() / count, 3),
        "received": one.received,
        "sent": one.sent,
        "operations": dict(operations.most_common()),
        "most": most,
    }


if __name__ == "__main__":
    main()
