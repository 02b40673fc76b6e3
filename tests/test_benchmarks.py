"""The benchmarks hold together: every row has its script, and each script what its runner asks."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

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


def test_what_workers_import_before_the_clock_starts_is_there(load: Load) -> None:
    assert all(find_spec(name) for name in load("plain").WORK)


def spread(**means: float) -> dict[str, object]:
    return {name: {"mean": mean, "std": 1.0, "least": mean - 2} for name, mean in means.items()}


def test_the_quality_suite_has_the_methods_that_were_scored(load: Load) -> None:
    quality = load("quality")
    both = quality.figures_of(spread(accuracy=60, miou=30, baseline_accuracy=50, baseline_miou=20))
    assert list(both) == ["STEGO", "k-means"]
    assert both["k-means"]["miou"] == {"mean": 20, "std": 1.0, "least": 18}


def test_the_quality_suite_averages_corpora_and_keeps_the_worst(load: Load) -> None:
    quality = load("quality")
    corpora = {"a": spread(accuracy=60, miou=30), "b": spread(accuracy=80, miou=50)}
    found = quality.means({name: quality.figures_of(each) for name, each in corpora.items()})
    assert found["STEGO"]["miou"] == {"mean": 40, "std": 1, "least": 28}
    assert found["k-means"]["miou"] == {"mean": None, "std": None, "least": None}


def test_the_published_recipe_is_a_row_of_its_own(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = load("quality")
    asked = []

    def measured(corpus: Path, workspace: Path, seeds: int, options: list[str]) -> dict[str, Any]:
        asked.append(options)
        return spread(accuracy=60 - 10 * len(asked), miou=30)

    monkeypatch.setattr(quality, "spread", measured)
    chosen, options = quality.parsed(["corpus", "--published", "--classes", "3"])
    found = quality.scored(Path("corpus"), Path("ws"), chosen, options)
    assert {method: found[method]["accuracy"]["mean"] for method in found} == {
        "STEGO": 50,
        "recipe stego": 40,
    }
    assert asked == [
        ["--classes", "3"],
        ["--classes", "3", "--recipe", "stego", "--no-baseline"],
    ]
    assert "recipe stego" in quality.means({"corpus": found})


def test_the_quality_suite_samples_images_with_their_labels(load: Load, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for folder, ending in (("imgs", "jpg"), ("labels", "png")):
        (corpus / folder).mkdir(parents=True)
        for number in range(9):
            (corpus / folder / f"{number}.{ending}").touch()
    (corpus / "taxonomy.json").touch()
    quality = load("quality")
    sample = quality.sample(corpus, quality.files_of(corpus), 3, tmp_path / "corpus-3")
    files = sorted(str(path.relative_to(sample)) for path in sample.rglob("*.*"))
    images, labels = [f"imgs/{n}.jpg" for n in (0, 4, 8)], [f"labels/{n}.png" for n in (0, 4, 8)]
    assert files == [*images, *labels, "taxonomy.json"]


def test_a_folder_that_is_no_corpus_is_named(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"is no corpus: it lacks labels, taxonomy.json, imgs"):
        load("quality").images_of(tmp_path)


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


def test_equal_pixels_and_neighbours_are_counted(load: Load) -> None:
    differences = load("differences")
    images = [np.zeros((400, 640, 3), np.uint8), np.full((320, 320, 3), 9, np.uint8)]
    bright = {"bright": lambda image: image[..., 0], "none": lambda image: image[..., 0] + 1}
    shares = differences.equal_pixels(images, lambda image: image[..., 0], bright)
    assert shares == {"bright": [100, 100], "none": [0, 0]}
    one, other = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[1, 3, 2, 9], [5, 6, 7, 8]])
    assert differences.equal_neighbors(one, other) == (87.5, 62.5)


def test_a_square_is_cut_before_or_after_it_is_labelled(load: Load) -> None:
    """A label that knows the height of what it saw."""
    differences = load("differences")
    image = np.zeros((640, 960, 3), np.uint8)

    def height(seen: np.ndarray) -> np.ndarray:
        return np.full(seen.shape[:2], len(seen) // 10, np.uint8)

    for way, seen in ((differences.square_first, 32), (differences.square_last, 64)):
        ids = way(height)(image)
        assert ids.shape == (320, 320)
        assert (ids == seen).all()
