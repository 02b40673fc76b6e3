"""The project's tensors on a device that is not the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.timeout(600)
def test_nothing_mixes_devices() -> None:
    """In a process of its own: a device that torch knows of can not be taken from it again."""
    root = Path(__file__).parents[3]
    checks = root / "tests" / "helpers" / "device_checks.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert ended.returncode == 0, ended.stdout[-6000:]
