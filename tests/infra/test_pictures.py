"""`make pictures`: every picture of the documents is made by the script, or known not to be."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "infra" / "docs"
sys.path.insert(0, str(SCRIPTS))

import note_charts  # noqa: E402  the scripts stand beside each other, in no package
import pictures  # noqa: E402
from sheets import CAPTION, GAP, sheet  # noqa: E402

SHOWN = {path.name for path in (ROOT / "docs" / "images").iterdir()}


def test_each_picture_has_its_maker() -> None:
    source = "".join(path.read_text() for path in SCRIPTS.glob("*_pictures.py"))
    charts = {"smoothing.png", "drift.png"}
    made = {name for name in SHOWN if f'"{name}"' in source}
    assert made | charts | pictures.BY_HAND == SHOWN
    assert not (made | charts) & pictures.BY_HAND


def test_charts_show_what_the_notes_say(tmp_path: Path) -> None:
    text = "x\n\n| a | b |\n|---|---|\n| 1 | −0.03 to 0.05 |\n| **2** | 4 |\n\n| a | c |\n"
    rows = note_charts.table(text, "a")
    assert rows == [["1", "−0.03 to 0.05"], ["**2**", "4"]]
    assert note_charts.numbers(rows[0][1]) == [-0.03, 0.05]
    made = list(note_charts.make(ROOT / "docs" / "notes", tmp_path))
    assert [path.name for path in made] == ["smoothing.png", "drift.png"]
    assert all(path.stat().st_size > 5_000 for path in made)


def test_a_sheet_has_equal_columns() -> None:
    red, blue = (np.zeros((30, 40, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 255, 255
    page = sheet(["one", "two"], [[red, blue], [blue, red]], 100 + 3 * GAP)
    assert page.size == (100 + 3 * GAP, CAPTION + 2 * 38 + 3 * GAP)
    centre = CAPTION + GAP + 19
    assert page.getpixel((GAP + 25, centre)) == (255, 0, 0)
    assert page.getpixel((2 * GAP + 75, centre)) == (0, 0, 255)
    assert page.getpixel((GAP + 25, centre + 38 + GAP)) == (0, 0, 255)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_are_made(tmp_path: Path) -> None:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver on this machine")
    workspace, out = str(tmp_path / "ws"), tmp_path / "out"
    stego = [
        sys.executable,
        "-m",
        "flows",
        "demo",
        "--offline",
        "--scenes",
        "32",
        "--workspace",
        workspace,
    ]
    subprocess.run(stego, cwd=ROOT, check=True)
    made = [sys.executable, str(SCRIPTS / "pictures.py"), "--workspace", workspace]
    subprocess.run([*made, "--out", str(out)], cwd=ROOT, check=True)
    assert {path.name for path in out.iterdir()} == SHOWN - pictures.BY_HAND
