"""A run whose reader is killed half-way goes on to the end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_outlives_the_reader_of_its_output(
    tmp_path: Path, make_corpus: Callable[..., Path]
) -> None:
    corpus = make_corpus(tmp_path / "corpus", 3, size=(64, 64))
    (corpus / "images" / "broken.png").write_bytes(b"no image")  # a warning to be printed
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdin is not None
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "flows", "run", "--images", str(corpus / "images")),
            *("--workspace", str(tmp_path / "ws"), "--executor", "loop", "--classes", "3"),
            *("--backbone", "vit_tiny_patch16_224", "--weights", "untrained", "--crops", "whole"),
            *("--crop-size", "64", "--resolution", "64", "--steps", "3", "--batch", "2"),
            *("--restarts", "1", "--neighbors", "3"),
        ],
        env=environment,
        stdout=reader.stdin,
        stderr=reader.stdin,
    )
    reader.stdin.close()
    assert reader.stdout is not None
    assert reader.stdout.readline()  # the first stage has ended
    reader.kill()
    reader.wait()
    assert run.wait(550) == 0, (tmp_path / "ws" / "stego.log").read_text()[-3000:]
    assert len(list(tmp_path.glob("ws/masks/*/images/*.png"))) == 3
    assert "run finished" in (tmp_path / "ws" / "stego.log").read_text()
