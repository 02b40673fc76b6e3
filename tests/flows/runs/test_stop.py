"""Ctrl-C and SIGTERM end a run soon, even in the middle of a shard that would take hours."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LONG = (
    "--backbone", "vit_pico_patch8_conv_64", "--steps", "1000000", "--batch", "2",
    "--global-size", "32", "--local-views", "0", "--prototypes", "8", "--hidden", "8",
    "--bottleneck", "4", "--checkpoint-steps", "10",
)  # fmt: skip
PATIENCE_SECONDS = 120
STOP_SECONDS = 60
LEAVE_SECONDS = 20


@pytest.mark.timeout(PATIENCE_SECONDS + STOP_SECONDS + 30)
@pytest.mark.parametrize(
    ("how", "executor"),
    [
        pytest.param(signal.SIGINT, "dask", marks=pytest.mark.long, id="SIGINT-dask"),
        pytest.param(signal.SIGTERM, "loop", marks=pytest.mark.long, id="SIGTERM-loop"),
    ],
)
def test_a_signal_ends_a_training(
    tmp_path: Path, make_corpus: Callable[..., Path], how: signal.Signals, executor: str
) -> None:
    corpus = make_corpus(tmp_path / "corpus", 3)
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    with (tmp_path / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flows", "pretrain", *LONG, "--executor", executor),
                *("--workers", "1", "--images", str(corpus / "images")),
                *("--workspace", str(tmp_path / "ws")),
            ],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list(tmp_path.glob("ws/pretrain/*/checkpoints/*")):
            assert process.poll() is None, (tmp_path / "output.txt").read_text()
            assert time.monotonic() < deadline, "no checkpoint appeared"
            time.sleep(0.2)
        process.send_signal(how)
        assert process.wait(STOP_SECONDS) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "output.txt").read_text()
    assert "Traceback" not in said
    assert "run the same command again" in said
    assert not list((tmp_path / "ws/writers").iterdir()), "the workspace is still claimed"
    deadline = time.monotonic() + LEAVE_SECONDS
    while _anybody(process.pid):  # Prefect's server, a worker
        assert time.monotonic() < deadline, "processes are left behind"
        time.sleep(0.2)


def _heed_interrupts() -> None:
    """Tests that run in a shell's background inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _anybody(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
