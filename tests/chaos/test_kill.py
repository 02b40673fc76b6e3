"""Killed anywhere, run again: only missing shards are computed, and the masks are the same."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flags import QUICK, TINY

from flows.cli.main import main

SCENES = 20


def masks(workspace: Path) -> dict[str, bytes]:
    key = json.loads((workspace / "current.json").read_text())["keys"]["masks"]
    folder = workspace / "masks" / key
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def records(workspace: Path) -> dict[Path, int]:
    """When each record was written."""
    return {path: path.stat().st_mtime_ns for path in workspace.rglob("records/*.json")}


def start(arguments: list[str], home: Path) -> subprocess.Popen[bytes]:
    """The command line in a process group of its own, with a Prefect home of its own."""
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
    environment.pop("PREFECT_API_URL")
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments], env=environment, start_new_session=True
    )


def kill_when(process: subprocess.Popen[bytes], workspace: Path, pattern: str) -> None:
    """kill -9 the whole group as soon as a file appears."""
    deadline = time.monotonic() + 150
    while not list(workspace.glob(pattern)):
        assert process.poll() is None, f"ended before {pattern} appeared"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.skipif("STEGO_CHAOS_KILLS" not in os.environ, reason="takes minutes: make chaos")
@pytest.mark.timeout(500)
@pytest.mark.usefixtures("prefect")
def test_killed_twice_ends_with_the_same_masks(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    corpus = make_corpus(tmp_path / "corpus", SCENES)

    def arguments(workspace: str, *more: str) -> list[str]:
        return [
            "run", "--workspace", str(tmp_path / workspace), "--images", str(corpus / "images"),
            "--classes", "5", "--neighbors", "8", "--dump", "train", *TINY, *QUICK, *more,
        ]  # fmt: skip

    main(arguments("calm", "--executor", "loop"))
    killed, home = tmp_path / "killed", tmp_path / "prefect"
    kill_when(start(arguments("killed"), home), killed, "features/*/train.zarr/patches/c/0*")
    before = records(killed)
    kill_when(start(arguments("killed"), home), killed, "masks/*/train/records/*.json")
    between = records(killed)
    assert before.items() <= between.items()
    assert not list(killed.glob("masks/*/train/manifest.json"))
    assert start(arguments("killed"), home).wait() == 0
    after = records(killed)
    assert between.items() <= after.items()
    assert masks(killed) == masks(tmp_path / "calm")
    assert len(masks(killed)) == SCENES
