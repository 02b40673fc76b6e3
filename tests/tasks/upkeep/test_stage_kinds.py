"""What is found in folders that few workspaces have: frames, squares, PiCIE, own backbones."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rare_stages
from flipped_bits import flipped

from tasks.storage import run_cache
from tasks.upkeep import doctor
from tasks.upkeep.damage_findings import Fate
from tasks.upkeep.repair import repair
from tasks.workspace.workspace import Workspace

FRAME = "frames/clips/images/one/t000001.000.jpg"
SQUARE, TRUTH = (
    f"prepared/val/{kind}/000001-ulm_000001_000019.png" for kind in ("images", "labels")
)
RECOMPUTED, LOST, MENDED, HARMLESS = Fate.RECOMPUTED, Fate.LOST, Fate.MENDED, Fate.HARMLESS


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("rare")
    with run_cache.during("rare"):
        rare_stages.finished(folder, make_corpus)
    return folder


def file_of(workspace: Workspace, pattern: str) -> Path:
    return sorted(Path(workspace.storage.uri).glob(pattern))[0]


def found(workspace: Workspace) -> set[tuple[str, Fate, str]]:
    """Path, fate and problem of each finding."""
    findings = doctor.examine(workspace, deep=False).findings
    assert all(finding.remedy and "Traceback" not in finding.problem for finding in findings)
    return {(finding.path, finding.fate, finding.problem) for finding in findings}


def test_sound_folders(workspace: Workspace) -> None:
    examination = doctor.examine(workspace, deep=True)
    assert (examination.findings, examination.unfinished) == ([], [])
    # Two backbones, the dump, its frames, its squares, and two trainings.
    assert examination.checked == {"folders": 7, "shards": 6, "dumps": 1}


FLIPS = {
    FRAME: (LOST, "frames/clips", "a frame of stretch 0 is not what its record says"),
    SQUARE: (RECOMPUTED, "prepared/val", "a square of shard 0 is not what its record says"),
    TRUTH: (RECOMPUTED, "prepared/val", "a square of shard 0 is not what its record says"),
    "picie/*/weights.safetensors": (RECOMPUTED, "weights", "is not what its record says"),
    "picie/*/centroids.safetensors": (RECOMPUTED, "centroids", "is not what its record says"),
    "picie/*/curve.parquet": (RECOMPUTED, "curve.parquet", "is damaged"),
    "pretrain/*/weights.safetensors": (RECOMPUTED, "weights", "is not what its record says"),
    "pretrain/*/curve.parquet": (RECOMPUTED, "curve.parquet", "is damaged"),
    "frames/clips/frames.parquet": (MENDED, "frames.parquet", "is damaged"),
}


@pytest.mark.parametrize("pattern", FLIPS)
def test_a_flipped_bit(workspace: Workspace, pattern: str) -> None:
    flipped(file_of(workspace, pattern))
    fate, place, problem = FLIPS[pattern]
    ((found_at, found_fate, told),) = found(workspace)
    assert place in found_at
    assert (found_fate, told.startswith(problem)) == (fate, True)


def test_a_flipped_bit_in_each_column_of_the_frames(workspace: Workspace) -> None:
    """It is the table's damage alone, whichever column is read to look at the frames."""
    path = file_of(workspace, "frames/clips/frames.parquet")
    content = path.read_bytes()
    for column in range(pq.ParquetFile(path).metadata.num_columns):
        flipped(path, column=column)
        told = [(place, fate) for place, fate, _ in found(workspace)]
        assert told == [("frames/clips/frames.parquet", MENDED)], column
        path.write_bytes(content)


GONE = {
    FRAME: LOST,
    "frames/clips/frames.parquet": MENDED,
    "frames/clips/clips.parquet": LOST,
    "frames/clips/quarantine.parquet": LOST,
    "frames/clips/records/000001.json": HARMLESS,
    SQUARE: RECOMPUTED,
    TRUTH: RECOMPUTED,
    "prepared/val/listing.parquet": RECOMPUTED,
    "prepared/val/quarantine.parquet": RECOMPUTED,
    "prepared/val/taxonomy.json": RECOMPUTED,
    "prepared/val/records/000000.json": RECOMPUTED,
    "picie/*/weights.safetensors": RECOMPUTED,
    "picie/*/centroids.safetensors": RECOMPUTED,
    "picie/*/curve.parquet": RECOMPUTED,
    "picie/*/records/000000.json": RECOMPUTED,
    "pretrain/*/weights.safetensors": RECOMPUTED,
    "pretrain/*/curve.parquet": RECOMPUTED,
    "pretrain/*/quality.parquet": RECOMPUTED,
    "pretrain/*/records/000000.json": RECOMPUTED,
}


@pytest.mark.parametrize("pattern", GONE)
def test_a_missing_file(workspace: Workspace, pattern: str) -> None:
    path = file_of(workspace, pattern)
    path.unlink()
    relative = path.relative_to(workspace.storage.uri).as_posix()
    assert (relative, GONE[pattern], "is not there") in found(workspace)


@pytest.mark.parametrize(
    ("pattern", "removed"),
    [
        ("prepared/val/taxonomy.json", {"manifest.json", "taxonomy.json"}),
        ("prepared/val/listing.parquet", {"manifest.json", "listing.parquet"}),
        (SQUARE, {"manifest.json", "000000.json"}),
    ],
)
def test_squares_are_made_again(
    workspace: Workspace, original: Path, pattern: str, removed: set[str]
) -> None:
    """A repair removes what stands for them; the same command then makes what is missing."""
    before = {file.path: workspace.storage.read(file.path) for file in workspace.storage.files()}
    file_of(workspace, pattern).unlink()
    repair(workspace, doctor.examine(workspace, deep=False).findings)
    gone = before.keys() - {file.path for file in workspace.storage.files()}
    assert {path.rpartition("/")[2] for path in gone} >= removed
    rare_stages.squares(workspace, original / "data")
    run_cache.renew("again")
    assert found(workspace) == set()
    assert workspace.storage.read(pattern) == before[pattern]
