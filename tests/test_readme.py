"""The front page: what a newcomer sees first, and that its example prints what it says."""

import re
from importlib import import_module
from pathlib import Path

from flows.cli import main
from flows.cli.flags import app
from flows.demo.street import SCENE_CLASSES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
FIRST_SCREEN = "\n".join(TEXT.splitlines()[:32])


def blocks(language: str) -> list[str]:
    """What stands between fences; they come in pairs."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def test_the_first_screen_has_picture_installation_and_example() -> None:
    assert "docs/images/click.gif" in FIRST_SCREEN
    for line in ("pip install", "make demo", "make test", "open_workspace("):
        assert line in FIRST_SCREEN
    assert len(blocks("python")[0].splitlines()) == 8


def test_the_printed_result_is_one_of_the_example() -> None:
    """`test_the_example_of_the_readme_as_printed` runs it; here is what the page says it prints."""
    size, *lines = next(block for block in blocks("") if "uint8" in block).splitlines()
    assert re.fullmatch(r"\(\d+, \d+\) uint8", size)
    shares = [re.fullmatch(r"(.{9}) *([\d.]+)%", line) for line in lines]
    assert all(shares)
    assert {share[1].strip() for share in shares if share} <= {*SCENE_CLASSES}
    assert abs(sum(float(share[2]) for share in shares if share) - 100) < 0.5


def test_folded_parts_are_closed_and_set_apart() -> None:
    """Markdown in them is read as such only between empty lines."""
    assert TEXT.count("<details markdown>\n<summary>") == TEXT.count("\n\n</details>\n\n") > 0
    assert TEXT.count("</summary>\n\n") == TEXT.count("<summary>")


def test_commands_and_targets_are_there() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {*re.findall(r"\bmake ([a-z-]+)", TEXT)} <= {*targets}
    for name in main.COMMANDS:
        import_module(name)
    assert {*re.findall(r"^stego ([a-z-]+)", TEXT, re.MULTILINE)} <= {*app}
