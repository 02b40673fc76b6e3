"""The benchmarks hold together: every row has its script, and each script what its runner asks."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
Load = Callable[[str], ModuleType]
ASKED = {"ROW", "UNIT", "WORK", "add_arguments", "inputs", "ours", "reference", "equal"}


def names(path: Path) -> set[str]:
    """What a module defines at its top, without importing what it compares with."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        found |= {name.id for each in targets for name in ast.walk(each) if hasattr(name, "id")}
        found |= {node.name} if isinstance(node, ast.FunctionDef) else set()
    return found


def paired() -> list[Path]:
    return [path for path in sorted(FOLDER.glob("*.py")) if "pairs.main(" in path.read_text()]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a benchmark as its script does; nothing of it stays."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.mark.parametrize("path", paired(), ids=lambda path: path.stem)
def test_a_pair_has_what_its_runner_asks(path: Path) -> None:
    assert names(path) >= ASKED


def test_every_benchmark_of_the_list_is_a_script_that_says_how_it_is_called(load: Load) -> None:
    for bench in load("bench").BENCHES:
        path = FOLDER / f"{bench.script}.py"
        assert f"python benchmarks/{path.name}" in path.read_text()


def test_each_argument_of_the_list_is_known(load: Load, tmp_path: Path) -> None:
    bench = load("bench")
    groups = set(bench.arguments_of(bench.parsed([]), tmp_path))
    assert {name for each in bench.BENCHES for name in each.given} <= groups


def test_a_random_fifth_is_the_mean_over_all_of_them(load: Load) -> None:
    counts = np.array([7, 0, 12, 3, 3, 9])
    shares = [sum(each) / counts.sum() for each in combinations(counts.tolist(), 2)]
    found = load("confidence").by_chance(counts, 2)
    np.testing.assert_allclose(found, (np.mean(shares), np.std(shares)))


def test_errors_are_looked_for_where_margins_and_doubt_send_people(load: Load) -> None:
    wrong = [np.array([True, True, False, False]), *[np.array([False] * 3 + [True])] * 4]
    margins = [np.array([9, 249, 250, 255], np.uint8), *[np.full(4, 255, np.uint8)] * 4]
    found = load("confidence").judged(wrong, margins, np.array([0.5, 0.1, 0.1, 0.2, 0.1]))
    assert (found.error, found.caught, found.possible) == (6 / 20, 2 / 6, 2 / 6)
    assert (found.doubtful, found.doubted) == (2 / 20, 1.0)
    assert found.pixels == 1 / found.error  # the least certain tenth are two wrong pixels


def test_growth_is_the_slope_on_log_log_axes(load: Load) -> None:
    exponent = load("growth").exponent
    assert exponent([1, 2, 4], [3, 6, 12]) == pytest.approx(1)
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_a_ratio_above_1_says_that_ours_is_better(load: Load) -> None:
    row = load("harness").Row
    assert row("seconds", [2.0], [3.0], "s").better == 1.5
    assert row("rate", [3.0], [2.0], "images/s").better == 1.5
    assert row("nothing", [], [2.0], "s").better is None


def test_memory_counts_what_a_block_holds() -> None:
    """In a process of its own: here, children of other tests come and go."""
    script = f"""
import sys, time
sys.path.insert(0, {str(FOLDER)!r})
from memory import watched
with watched() as peak:
    held = bytearray(64 * 2**20)
    time.sleep(0.2)
    del held
print(peak.beyond, peak.total)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    beyond, total = map(int, told.stdout.split())
    assert 60 * 2**20 < beyond <= total
