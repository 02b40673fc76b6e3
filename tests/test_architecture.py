"""The house keeps its rooms: import rules, file lengths, names, and what the project may say."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("flows", "tasks", "stego_core")
STAGES = ("corpus", "features", "neighbors", "head", "clusters", "masks", "scores", "report")
LONGEST = 300
REASONS: dict[str, str] = {
    "tasks/charts.py": "kinds of chart and picture that share one set of colours and sizes",
    "tasks/page.py": "the page's data classes, one after another",
    "tasks/options.py": "the stages' options, one model after another",
}
"""Files over the limit, each with its reason."""


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_imports_keep_their_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
class TestEveryFile:
    def test_is_short(self, path: Path) -> None:
        lines = len(path.read_text().splitlines())
        assert lines <= LONGEST or str(path.relative_to(ROOT)) in REASONS

    def test_opens_with_one_sentence(self, path: Path) -> None:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert text.split("\n")[0].endswith(".")

    def test_reads_no_environment_at_import(self, path: Path) -> None:
        module = ast.parse(path.read_text())
        top = [node for node in module.body if isinstance(node, ast.Assign | ast.Expr)]
        assert not any("os.environ" in ast.unparse(node) for node in top)


def test_reasons_name_files_that_need_them() -> None:
    for name in REASONS:
        assert len((ROOT / name).read_text().splitlines()) > LONGEST


def test_every_stage_has_one_name() -> None:
    from flows import flags, stages
    from flows import single as single  # adds its commands

    for stage in STAGES:
        assert stage in flags.app
        assert (ROOT / "tasks" / f"{stage}.py").exists()
        assert getattr(stages, f"{stage}_flow").name == stage


def test_core_draws_from_no_global_generator() -> None:
    drawing = re.compile(r"np\.random\.(rand|randn|randint|choice|permutation|seed|shuffle)\b")
    for path in (ROOT / "stego_core").glob("*.py"):
        assert not drawing.search(path.read_text()), path


DOCUMENTED = {("s3fs.core", "add_retryable_error")}
"""Public names that live in a module of internals."""
INTERNAL = ("zarr.core", "s3fs.core", "pyarrow.lib", "distributed.utils", "rasterio._err")
"""Modules that their libraries do not document for others."""


def imported_names(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_private(module: str, name: str) -> bool:
    parts = [*module.split("."), name]
    hidden = any(part.startswith("_") and not part.startswith("__") for part in parts)
    inside = any(f"{module}.".startswith(f"{internal}.") for internal in INTERNAL)
    return hidden or (inside and (module, name) not in DOCUMENTED)


def test_no_private_module_of_a_library_is_imported() -> None:
    ours = {*ROOMS, "infra", "__future__"}
    files = [*sources(), *(ROOT / "infra").rglob("*.py")]
    private = [
        f"{path.relative_to(ROOT)}: {module} {name}"
        for path in files
        for module, name in imported_names(path)
        if module.split(".")[0] not in ours | sys.stdlib_module_names and is_private(module, name)
    ]
    assert private == []
