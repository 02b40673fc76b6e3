"""Short commands end as they should each time, also where a native library still has threads."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from explorer_page import pipeline_on

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(900)]

TIMES = 30
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


def test_looking_imports_no_torch(workspace: Path) -> None:
    """It takes seconds, of which a script that asks for the status often has none."""
    for arguments in LIGHT.values():
        looked = (
            "import sys; from flows.cli.main import main; "
            f"main({[*arguments, '--workspace', str(workspace)]!r}); "
            "sys.exit('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)
