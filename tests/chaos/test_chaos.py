"""Everything dies at some time: a run on S3, a cluster and a server elsewhere ends all the same.

`make chaos` kills 20 times at random; the test suite has time for one of each kind.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs
from cluster import Service, dask_cluster, prefect_server
from fault_proxy import FaultProxy
from flags import QUICK, TINY
from swift_server import SwiftServer

from flows.cli.main import main

KILLS = int(os.environ.get("STEGO_CHAOS_KILLS", "4"))
SEED = int(os.environ.get("STEGO_CHAOS_SEED", "0"))
FAULTS = 0.1
SCENES = 16 if KILLS <= 4 else 64
PATIENCE_SECONDS = 120 + 60 * KILLS
CHECKOUT = Path(__file__).parents[2]


def arguments(workspace: str, images: str, *more: str) -> list[str]:
    return [
        "run", "--workspace", workspace, "--images", images, "--classes", "5", "--neighbors", "8",
        "--dump", "train", *TINY, *QUICK, *more,
    ]  # fmt: skip


class Places:
    """What lies in a bucket, asked without the proxy."""

    def __init__(self, s3: SwiftServer, bucket: str) -> None:
        self.bucket = bucket
        self.files = s3fs.S3FileSystem(
            endpoint_url=s3.endpoint,
            key=s3.access_key,
            secret=s3.secret_key,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def found(self, folder: str, ending: str = "") -> dict[str, str]:
        """Versions of the objects below a folder, by path."""
        below = self.files.find(f"{self.bucket}/{folder}", detail=True)
        return {
            name.removeprefix(f"{self.bucket}/"): info["ETag"]
            for name, info in below.items()
            if name.endswith(ending) and info["type"] == "file"  # a folder just made has no ETag
        }

    def masks(self) -> dict[str, bytes]:
        names = self.found("ws/masks", ".png")
        return {
            name.split("/", 3)[3]: self.files.cat_file(f"{self.bucket}/{name}") for name in names
        }


def victims() -> Iterator[str]:
    """Whom to kill next: everybody's turn comes, in random order."""
    chance = random.Random(SEED)
    while True:
        hand = ["worker", "scheduler", "server", "driver"]
        chance.shuffle(hand)
        yield from hand


@pytest.mark.long
@pytest.mark.timeout(PATIENCE_SECONDS + 240)
@pytest.mark.usefixtures("prefect")
def test_killed_again_and_again_ends_with_the_same_masks(
    tmp_path: Path,
    make_corpus: Callable[..., Path],
    s3: SwiftServer,
    s3_environment: str,
) -> None:
    corpus = make_corpus(tmp_path / "corpus", SCENES) / "images"
    main(arguments(str(tmp_path / "calm"), str(corpus), "--executor", "loop"))
    calm = {
        str(path.relative_to(tmp_path / "calm/masks")).split("/", 1)[1]: path.read_bytes()
        for path in (tmp_path / "calm" / "masks").rglob("*.png")
    }
    place = Places(s3, s3_environment.removeprefix("s3://"))
    place.files.put(f"{corpus}/", f"{place.bucket}/images/", recursive=True)
    with (
        FaultProxy(s3.endpoint, rate=FAULTS, seed=SEED, stall=1.0) as proxy,
        prefect_server(tmp_path) as (server, api),
        dask_cluster(tmp_path, 2, s3.environment(proxy.endpoint)) as cluster,
    ):
        driver = Service(
            [
                *(sys.executable, "-m", "flows"),
                *arguments(f"{s3_environment}/ws", f"{s3_environment}/images"),
                *("--cluster", cluster.address, "--log-file", str(tmp_path / "driver.log")),
            ],
            tmp_path / "driver.txt",
            {
                **os.environ,
                **s3.environment(proxy.endpoint),
                "PREFECT_API_URL": api,
                "PYTHONPATH": str(CHECKOUT),
            },
        ).start()
        crew = {"scheduler": cluster.scheduler, "server": server, "driver": driver}
        chance, chosen = random.Random(SEED), victims()
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen: dict[str, str] = {}
        killed: list[str] = []
        while not (done := driver.process.poll() == 0):  # type: ignore[union-attr]
            assert time.monotonic() < deadline, driver.output()[-3000:]
            for service in (server, cluster.scheduler, *cluster.workers, driver):
                if not service.alive:
                    service.start()
            now = place.found("ws")
            records = {name: mark for name, mark in seen.items() if "/records/" in name}
            assert records.items() <= now.items(), "a completed shard was computed again"
            if len(killed) < KILLS and len(now) > len(seen):
                time.sleep(chance.uniform(0, 2))
                name = next(chosen)
                (crew.get(name) or chance.choice(cluster.workers)).kill()
                killed.append(name)
            seen = now
            time.sleep(0.5)
        assert done
        assert len(killed) == KILLS, f"ended after {killed}: the corpus is too small"
        assert sum(proxy.injected.values()) > 0
    assert place.masks() == calm
    assert len(calm) == SCENES
    assert s3.secret_key not in driver.output() + (tmp_path / "driver.log").read_text()
