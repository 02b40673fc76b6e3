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


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_imports_keep_their_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_files_of_every_language_are_short() -> None:
    endings = {".py", ".cpp", ".hpp", ".js", ".css", ".html", ".j2", ".sh", ".yaml", ".toml"}
    files = [p for room in (*ROOMS, "infra") for p in (ROOT / room).rglob("*")]
    lines = {p: len(p.read_text().splitlines()) for p in files if p.suffix in endings}
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
class TestEveryFile:
    def test_opens_with_one_sentence(self, path: Path) -> None:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert text.split("\n")[0].endswith(".")

    def test_reads_no_environment_at_import(self, path: Path) -> None:
        module = ast.parse(path.read_text())
        top = [node for node in module.body if isinstance(node, ast.Assign | ast.Expr)]
        assert not any("os.environ" in ast.unparse(node) for node in top)


def test_every_stage_has_one_name() -> None:
    from flows.cli import flags, stage_commands  # noqa: F401  adds its commands
    from flows.runs import stages

    for stage in STAGES:
        assert stage in flags.app
        assert (ROOT / "tasks" / stage / "stage.py").exists()
        assert getattr(stages, f"{stage}_flow").name == stage


def folders() -> list[Path]:
    return sorted({path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")})


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_folders_are_small(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 15
    assert (folder / "__init__.py").exists()


def test_a_module_name_means_one_thing() -> None:
    """The same name stands for the same thing on another floor, or is a stage's or its options'."""
    places: dict[str, list[Path]] = {}
    for path in sources():
        places.setdefault(path.stem, []).append(path.relative_to(ROOT))
    for name, paths in places.items():
        if name in {"__init__", "stage"}:
            continue
        areas = {path.parts[1] for path in paths if path.parts[1] != "options"}
        assert len(areas) <= 1 or name in areas or set(areas) <= {name, "runs", "cli"}, paths


def test_tests_mirror_the_sources() -> None:
    """A test file stands where its module does, or tells in `WIDER` what it is about."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        place = path.relative_to(ROOT / "tests")
        if place.parts[0] not in ROOMS or place.stem in WIDER:
            continue
        source = ROOT / place.parent / f"{place.stem.removeprefix('test_')}.py"
        assert source.exists(), place


WIDER = {
    "test_attack": "the explorer against a client that is not its page",
    "test_address": "the address that the explorer prints",
    "test_backbones": "a run with each family of backbones",
    "test_bad_input": "what people get wrong on the command line",
    "test_bucket_routes": "the explorer's home page on buckets",
    "test_cluster": "a run on a Dask cluster",
    "test_copies": "a workspace that was copied elsewhere",
    "test_dead_pipe": "a run whose reader goes away",
    "test_device": "a run on a device that refuses what lies on another",
    "test_home_page": "the explorer's home page in a browser, from images to an export",
    "test_no_data": "pixels without data through the whole of a run",
    "test_options": "all stages' options",
    "test_original": "STEGO's own order of computing, beside ours",
    "test_page": "the explorer's page in a browser",
    "test_retrain_page": "a training again from the explorer's home page, in a browser",
    "test_server": "the explorer's server",
    "test_short_commands": "commands that end within a second",
    "test_stages": "several stages after one another",
    "test_start": "how the explorer begins",
    "test_stop": "Ctrl-C and SIGTERM",
    "test_video": "videos through the whole of a run",
    "test_teach_page": "teaching in a browser, from a point to new masks",
    "test_vit_families": "every family of vision transformers",
}
"""Tests of more than one module."""


def test_core_draws_from_no_global_generator() -> None:
    drawing = re.compile(r"np\.random\.(rand|randn|randint|choice|permutation|seed|shuffle)\b")
    for path in (ROOT / "stego_core").rglob("*.py"):
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
