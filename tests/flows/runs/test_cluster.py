"""The same masks from one, two and four workers; those without a GPU load no backbone."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import dask_cluster
from distributed import Client
from flags import QUICK, TINY

from flows.cli.main import main

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(400)]
SCENES = 12


def masks(workspace: Path) -> dict[str, bytes]:
    key = json.loads((workspace / "current.json").read_text())["keys"]["masks"]
    return {path.name: path.read_bytes() for path in (workspace / "masks" / key).rglob("*.png")}


def test_the_outcome_does_not_depend_on_the_workers(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    def libraries() -> dict[str, bool]:  # local, so that it travels by value
        return {name: name in sys.modules for name in ("timm", "torch", "prefect")}

    images = make_corpus(tmp_path / "corpus", SCENES) / "images"

    def run(name: str, *where: str) -> dict[str, bytes]:
        main([
            "run", "--workspace", str(tmp_path / name), "--images", str(images), "--classes", "5",
            "--neighbors", "8", "--dump", "train", *TINY, *QUICK, *where,
        ])  # fmt: skip
        return masks(tmp_path / name)

    one = run("one", "--executor", "loop")
    assert len(one) == SCENES
    (tmp_path / "dask").mkdir()
    with dask_cluster(tmp_path / "dask", 2, gpus=1) as cluster:
        assert run("two", "--cluster", cluster.address, "--device", "cpu") == one
        with Client(cluster.address) as client:
            loaded = client.run(libraries)
            workers = client.scheduler_info(n_workers=-1)["workers"]
        gpu = [name for name, worker in workers.items() if worker["resources"].get("GPU")]
        assert [name for name, found in loaded.items() if found["timm"]] == gpu
        assert not any(found["prefect"] for found in loaded.values())
    assert run("four", "--workers", "4") == one
