"""The wheel holds all that a run needs, outside the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.timeout(200)
def test_installs_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: setuptools leaves its build folder where it builds
    source.mkdir()
    made = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("flows", "tasks", "stego_core"):
        shutil.copytree(ROOT / name, source / name, ignore=made)
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, *wheel, str(source)], check=True)
    (built,) = tmp_path.glob("stego_flows-*.whl")
    place = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place), str(built)], check=True)
    code = (
        "import flows, stego_core.masks.crf, tasks.report.page, tasks.exports as e;"
        "import tasks.workspace.arrays as a;"
        "import importlib.resources as r;"
        "print(flows.__file__, tasks.report.page.__file__, a.__file__, e.__file__);"
        "assert r.files('tasks.report').joinpath('templates/report.html.j2').is_file();"
        "assert r.files('tasks.features').joinpath('weights/scenes.safetensors').is_file();"
        "assert r.files('flows.explorer').joinpath('static/main.js').is_file()"
    )
    environment = {**os.environ, "PYTHONPATH": str(place)}
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    shown = subprocess.run([sys.executable, "-c", code], check=True, **run).stdout
    assert all(part.startswith(str(place)) for part in shown.split())
    helped = subprocess.run([sys.executable, "-m", "flows", "--help"], check=True, **run).stdout
    assert "backfill" in helped
