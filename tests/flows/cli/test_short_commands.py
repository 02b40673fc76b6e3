"""Short commands end as they should each time, also where a native library still has threads."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from explorer_page import pipeline_on

from tasks.options import ComputeOptions, HeadOptions, MasksOptions

pytestmark = pytest.mark.timeout(900)

TIMES = 30
HEAVY = {
    *("torch", "torchvision", "timm", "prefect", "distributed", "faiss", "matplotlib", "scipy"),
    *("zarr", "s3fs", "av", "rasterio"),
}
LIGHT = {
    "status": ("status",),
    "status --json": ("status", "--json"),
    "status --uncertain": ("status", "--uncertain", "5"),
    "name": ("name",),
    "name --json": ("name", "--json"),
    "name history": ("name", "history"),
}
"""Commands that only look, and need neither torch nor a server."""


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A finished workspace of 24 images."""
    folder = tmp_path_factory.mktemp("short")
    pipeline_on(
        str(folder / "ws"), make_corpus(folder / "train", 24, size=(64, 64)), "run", "train"
    )
    return folder / "ws"


def ended(*arguments: str) -> tuple[int, str]:
    """Exit code of a command, and the end of what it said."""
    command = [sys.executable, "-m", "flows", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr[-200:] if done.returncode else ""


def many(*arguments: str) -> Counter[tuple[int, str]]:
    """How TIMES calls end."""
    with ThreadPoolExecutor(2) as pool:
        return Counter(pool.map(lambda _: ended(*arguments), range(TIMES)))


@pytest.mark.long
@pytest.mark.parametrize("name", LIGHT)
def test_each_time(workspace: Path, name: str) -> None:
    assert many(*LIGHT[name], "--workspace", str(workspace)) == {(0, ""): TIMES}


@pytest.mark.long
def test_exports_each_time(workspace: Path, tmp_path: Path) -> None:
    places = [str(tmp_path / f"{number}") for number in range(TIMES)]
    export = ("export", "--format", "masks", "--workspace", str(workspace), "--out")
    with ThreadPoolExecutor(2) as pool:
        codes = Counter(pool.map(lambda place: ended(*export, place), places))
    assert codes == {(0, ""): TIMES}


@pytest.mark.long
def test_help_and_refusals_each_time(tmp_path: Path) -> None:
    assert many("--help") == {(0, ""): TIMES}
    found = many("status", "--workspace", str(tmp_path / "none"))
    assert {code for code, _ in found} == {2}


def heavy(*arguments: str) -> list[str]:
    """Which libraries a command imported that take long."""
    code = (
        "import atexit, sys; from flows.cli.main import main; "
        f"found = lambda: sorted({HEAVY!r} & sys.modules.keys()); "
        "atexit.register(lambda: print(*found(), file=sys.stderr)); "
        f"main({list(arguments)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stderr.splitlines()[-1].split()  # before it, what the command says


@pytest.mark.parametrize("name", LIGHT)
def test_looking_imports_nothing_heavy(own: str, name: str) -> None:
    """It takes seconds, of which a script that asks for the status often has none."""
    assert heavy(*LIGHT[name], "--workspace", own) == []


@pytest.mark.parametrize("command", [(), ("run",), ("segment",), ("head",), ("name",), ("prune",)])
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    assert heavy(*command, "--help") == []


def test_help_shows_each_option_s_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    """Also those of sections, and the sections' own."""
    subprocess.run([sys.executable, "-m", "flows", "run", "--help"], check=True)
    shown = " ".join(capfd.readouterr().out.split())
    for options in (HeadOptions, MasksOptions, ComputeOptions):
        assert (options.__doc__ or "").splitlines()[0][:40] in shown
        for field in options.model_fields.values():
            assert str(field.description)[:15] in shown
