"""The wheel holds all that a run needs, outside the checkout, with and without a compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}


def built(folder: Path, environment: Mapping[str, str]) -> Path:
    """The wheel of this checkout."""
    source = folder / "source"  # a copy: setuptools leaves its build folder where it builds
    source.mkdir()
    made = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("flows", "tasks", "stego_core"):
        shutil.copytree(ROOT / name, source / name, ignore=made)
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *wheel, str(source)], check=True, env={**os.environ, **environment})
    (found,) = folder.glob("stego_flows-*.whl")
    return found


def installed(folder: Path, wheel: Path) -> Path:
    """A fresh virtual environment with the wheel; what it depends on is read from this one."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "--quiet", "install", "--no-deps", str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path alone: the links to checkouts that lie there are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def run(command: Path, *arguments: str, folder: Path) -> str:
    """What a command prints that is run outside the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "300"  # on a busy machine
    done = subprocess.run(
        [command, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return " ".join((done.stdout + done.stderr).split())  # lines break where the terminal ends


@pytest.mark.long
@pytest.mark.timeout(900)
def test_installs_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    wheel = built(tmp_path, {"STEGO_COMPILED": "required"})
    place = installed(tmp_path / "venv", wheel)
    code = (
        "import flows, stego_core.masks.crf as c, tasks.report.page, tasks.exports as e;"
        "import tasks.workspace.arrays as a;"
        "import importlib.resources as r;"
        "print(flows.__file__, tasks.report.page.__file__, a.__file__, e.__file__);"
        "assert c.COMPILED;"
        "assert r.files('tasks.report').joinpath('templates/report.html.j2').is_file();"
        "assert r.files('tasks.features').joinpath('weights/scenes.safetensors').is_file();"
        "assert r.files('flows.explorer').joinpath('static/main.js').is_file()"
    )
    shown = run(place / "python", "-c", code, folder=tmp_path)
    assert all(part.startswith(str(tmp_path)) for part in shown.split())
    assert "backfill" in run(place / "stego", "--help", folder=tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_works_without_a_compiler(tmp_path: Path) -> None:
    place = installed(tmp_path / "venv", built(tmp_path, NO_COMPILER))
    stego, lattice = place / "stego", "import stego_core.masks.crf as c; print(c.COMPILED)"
    assert run(place / "python", "-c", lattice, folder=tmp_path).strip() == "False"
    assert PROJECT["project"]["version"] in run(stego, "--version", folder=tmp_path)
    demo = ["demo", "--offline", "--scenes", "32", "--workspace", "ws", "--executor", "loop"]
    assert run(stego, *demo, folder=tmp_path).count("lattice is not compiled") >= 1
    scene = tmp_path / "ws-corpus" / "images" / "scene-0003.png"
    said = run(stego, "segment", str(scene), "--workspace", "ws", folder=tmp_path)
    assert said.count("lattice is not compiled") == 1
    assert (tmp_path / "labelled" / "scene-0003.png").is_file()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_wheel_that_must_have_the_lattice_is_not_built_without(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        built(tmp_path, {**NO_COMPILER, "STEGO_COMPILED": "required"})


def test_wheels_are_built_for_each_python_that_is_named() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"]]
    wheels = PROJECT["tool"]["cibuildwheel"]
    assert wheels["build"] == [f"cp{version.replace('.', '')}-*" for version in named]
    assert wheels["environment"] == {"STEGO_COMPILED": "required"}


def test_cibuildwheel_understands_it() -> None:
    pytest.importorskip("cibuildwheel", reason="cibuildwheel comes with `make wheels` alone")
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers"]
    platform = ["--platform", "linux", "--archs", "x86_64"]
    shown = subprocess.run(
        [*command, *platform, str(ROOT)], capture_output=True, text=True, check=True
    ).stdout
    expected = {f"cp3{minor}-manylinux_x86_64" for minor in (11, 12, 13)}
    assert {*shown.split()} == expected
