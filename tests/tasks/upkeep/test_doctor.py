"""Every kind of damage is found, told apart by what can be done, and never ends in a traceback."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flipped_bits import flipped

from tasks.class_names import classes_file
from tasks.storage.storage import Storage
from tasks.upkeep import doctor
from tasks.upkeep.damage_findings import Fate, Finding
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


def findings(workspace: Workspace, deep: bool = False) -> list[Finding]:
    return doctor.examine(workspace, deep).findings


def found(workspace: Workspace) -> tuple[str, Fate]:
    """Path and fate of the only finding."""
    (finding,) = findings(workspace)
    return finding.path, finding.fate


def file_of(workspace: Workspace, pattern: str) -> Path:
    """The first file of a pattern."""
    return sorted(Path(workspace.storage.uri).glob(pattern))[0]


def test_a_sound_workspace(workspace: Workspace) -> None:
    examination = doctor.examine(workspace, deep=True)
    assert examination.findings == []
    assert examination.unfinished == []
    assert examination.checked == {"folders": 11, "shards": 8, "dumps": 2}


FLIPS = {
    "features/*/first.zarr/patches/c/0/0/0/0": Fate.RECOMPUTED,
    "features/*/first.zarr/pooled/c/0/0": Fate.RECOMPUTED,
    "features/*/first.zarr/images/c/0": Fate.RECOMPUTED,
    "features/*/first.zarr/patches/zarr.json": Fate.RECOMPUTED,
    "neighbors/*/later.zarr/ids/c/0/0": Fate.RECOMPUTED,
    "neighbors/*/later.zarr/similarities/c/0/0": Fate.RECOMPUTED,
    "masks/*/first/s001.png": Fate.RECOMPUTED,
    "confidence/*/later/s010.png": Fate.RECOMPUTED,
    "masks/*/first/confidence.parquet": Fate.RECOMPUTED,
    "backbones/*/weights.safetensors": Fate.RECOMPUTED,
    "corpus/first/listing.parquet": Fate.LOST,
    "corpus/first/parts/index-000000.parquet": Fate.HARMLESS,
}


@pytest.mark.parametrize("pattern", FLIPS)
def test_a_flipped_bit(workspace: Workspace, pattern: str) -> None:
    path = file_of(workspace, pattern)
    flipped(path)
    kinds = {finding.fate for finding in findings(workspace)}
    assert kinds == {FLIPS[pattern]}


def test_a_flipped_bit_of_a_tensor_that_a_record_proves(workspace: Workspace) -> None:
    folder = workspace.folder(layout.SCORES, "probes", "5" * 16)
    path = f"{folder.path}/{layout.PROBE_FILE}"
    content = tables.write_tensors(
        workspace.storage, path, {"weights": np.ones((4, 4), np.float32)}
    )
    folder.record(Record(0, (0, 1), len(content), keys.digest(content)))
    folder.finish({"shards": 1})
    assert findings(workspace) == []
    flipped(Path(workspace.storage.full(path)), 0.9)
    # No scores name this probe.
    assert found(workspace) == (path, Fate.HARMLESS)


GONE = {
    "features/*/first.zarr/patches/c/0/0/0/0": Fate.RECOMPUTED,
    "neighbors/*/later.zarr/ids/zarr.json": Fate.RECOMPUTED,
    "masks/*/first/s001.png": Fate.RECOMPUTED,
    "masks/*/first/confidence.parquet": Fate.RECOMPUTED,
    "masks/*/first/records/000000.json": Fate.RECOMPUTED,
    "heads/*/head.safetensors": Fate.RECOMPUTED,
    "clusters/*/centroids.safetensors": Fate.RECOMPUTED,
    "corpus/first/index.parquet": Fate.MENDED,
    "corpus/first/listing.json": Fate.LOST,
    "corpus/first/records/000000.json": Fate.HARMLESS,
}


@pytest.mark.parametrize("pattern", GONE)
def test_a_missing_file(workspace: Workspace, pattern: str) -> None:
    file_of(workspace, pattern).unlink()
    results = findings(workspace)
    assert {f.fate for f in results} >= {GONE[pattern]}
    assert all("Traceback" not in f.problem for f in results)
    assert any("is not there" in f.problem for f in results)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"a": NaN}' * 9])
@pytest.mark.parametrize(
    "pattern",
    [
        "masks/*/first/manifest.json",
        "masks/*/first/plan.json",
        "masks/*/first/records/000000.json",
        "features/*/later.zarr/manifest.json",
        "corpus/later/manifest.json",
        "backbones/*/manifest.json",
        "current.json",
        "classes.toml",
    ],
)
def test_documents_that_are_none(workspace: Workspace, pattern: str, content: bytes) -> None:
    if pattern == "classes.toml":
        workspace.storage.write(pattern, b"")
    path = file_of(workspace, pattern)
    path.write_bytes(content)
    results = findings(workspace)
    assert path.relative_to(workspace.storage.uri).as_posix() in {f.path for f in results}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_bytes_there_is_no_traceback(workspace: Workspace, seed: int) -> None:
    """Several files at once, each cut, emptied, of other bytes, or of another file's."""
    chance = random.Random(seed)
    files = [f for f in Path(workspace.storage.uri).rglob("*") if f.is_file()]
    files = [f for f in files if f.name != layout.ROOT_FILE]
    for path in chance.sample(files, 12):
        content = path.read_bytes()
        path.write_bytes(
            chance.choice([
                content[: len(content) // 2], b"", chance.randbytes(200), b"null", b"{}",
                chance.choice(files).read_bytes(),
            ])
        )  # fmt: skip
    results = findings(workspace, deep=True)
    assert len(results) >= 6
    assert all(finding.problem and finding.remedy for finding in results)


class TestImages:
    def test_that_are_gone(self, workspace: Workspace, moved: Callable[[str], Path]) -> None:
        folder = moved("first")
        (folder / "s001.png").unlink()
        (folder / "s003.png").unlink()
        (finding,) = findings(workspace)
        assert finding.fate is Fate.LOST
        assert "2 of 6 images of dump first are gone, such as s001.png" in finding.problem

    def test_that_changed_are_seen_by_reading_them(
        self, workspace: Workspace, moved: Callable[[str], Path]
    ) -> None:
        folder = moved("first")
        (folder / "s001.png").write_bytes((folder / "s002.png").read_bytes())
        assert findings(workspace) == []
        (finding,) = findings(workspace, deep=True)
        assert finding.path == str(folder / "s001.png")
        assert "changed since it was indexed" in finding.problem

    def test_whose_folder_is_gone(self, workspace: Workspace, moved: Callable[[str], Path]) -> None:
        folder = moved("first")
        folder.rename(folder.with_name("away"))
        (finding,) = findings(workspace)
        assert "does not exist" in finding.problem


class TestOrphans:
    def test_damage_of_what_nobody_uses(self, workspace: Workspace) -> None:
        workspace.storage.write(f"masks/{'9' * 16}/first/{layout.MANIFEST}", b"{")
        (finding,) = findings(workspace)
        assert finding.fate is Fate.HARMLESS
        assert finding.remedy.startswith("stego prune")

    def test_unfinished_folders_are_listed(self, workspace: Workspace) -> None:
        folder = workspace.folder(layout.MASKS, "9" * 16, "first")
        folder.plan({"dump": "first"})
        examination = doctor.examine(workspace, deep=False)
        assert examination.findings == []
        assert examination.unfinished == [folder.path]

    def test_a_key_of_the_last_run_without_its_folder(self, workspace: Workspace) -> None:
        keys = Summary(workspace).keys
        workspace.update_last_run(keys={**keys, "head": "8" * 16})
        (finding,) = findings(workspace)
        assert f"heads/{'8' * 16}, which is not there" in finding.problem


def test_names_of_classes(workspace: Workspace) -> None:
    named = classes_file.current_names(workspace)
    classes_file.edit(workspace, named.classes, "as they are")
    assert findings(workspace) == []
    revision = file_of(workspace, f"classes/{named.clusters_key}/000001-*.toml")
    revision.write_text("clusters = 3")
    (finding,) = findings(workspace)
    assert finding.fate is Fate.LOST
    assert "backup" in finding.remedy


class TestCommands:
    def test_of_a_later_dump(self, workspace: Workspace) -> None:
        flipped(file_of(workspace, "features/*/later.zarr/patches/c/0/0/0/0"))
        images = workspace.corpus("later").manifest()["images_uri"]
        (finding,) = findings(workspace)
        assert finding.remedy == (
            f"stego backfill --workspace {workspace.storage.uri} --images {images} --dump later"
        )

    def test_of_a_training_dump(self, workspace: Workspace) -> None:
        flipped(file_of(workspace, "features/*/first.zarr/patches/c/0/0/0/0"))
        (finding,) = findings(workspace)
        assert finding.remedy == "run the same `stego run` command again"

    def test_of_masks(self, workspace: Workspace) -> None:
        file_of(workspace, "masks/*/later/s010.png").unlink()
        (finding,) = findings(workspace)
        assert finding.remedy.endswith("--dumps later")
        assert finding.remedy.startswith("stego masks")


@pytest.mark.long
def test_on_s3(workspace: Workspace, s3_environment: str) -> None:
    target = Storage.at(f"{s3_environment}/copy")
    for file in workspace.storage.files():
        target.write(file.path, workspace.storage.read(file.path))
    copy = Workspace.open(target.uri)
    assert findings(copy) == []
    masks = [file.path for file in target.files() if file.path.startswith("masks/")]
    path = next(path for path in masks if path.endswith("first/s001.png"))
    target.write(path, target.read(path)[:-1])
    shard = next(f.path for f in target.files() if "/later.zarr/ids/c/" in f.path)
    target.remove(shard)
    assert {f.fate for f in findings(copy)} == {Fate.RECOMPUTED}
    assert len(findings(copy)) >= 2
    folder = Folder(target, "/".join(path.split("/")[:-1]))
    assert json.loads(target.read(f"{folder.path}/{layout.MANIFEST}"))["stage"] == "masks"
