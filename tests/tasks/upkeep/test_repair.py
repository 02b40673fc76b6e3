"""What a repair removes, what it leaves, and that the stages then compute just that again."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from explored_workspace import CLUSTERS, FEATURES, MASKS, NEIGHBORS, compute

from stego_core.errors import WorkspaceError
from tasks.engine.stage import Stage
from tasks.features import backbones
from tasks.features import stage as features
from tasks.features.rows import FeatureRows
from tasks.masks import stage as masks
from tasks.neighbors import stage as neighbors
from tasks.storage import run_cache
from tasks.storage.storage import Storage
from tasks.upkeep import doctor
from tasks.upkeep.damage_findings import Fate
from tasks.upkeep.repair import repair
from tasks.workspace import layout, lease
from tasks.workspace.workspace import Workspace


def file_of(workspace: Workspace, pattern: str) -> Path:
    return sorted(Path(workspace.storage.uri).glob(pattern))[0]


def data(workspace: Workspace) -> dict[str, bytes]:
    """Files but those that hold seconds, which differ from run to run."""
    paths = [file.path for file in workspace.storage.files() if not file.path.endswith(".json")]
    return {path: workspace.storage.read(path) for path in paths}


def repaired(workspace: Workspace) -> list[str]:
    return repair(workspace, doctor.examine(workspace, deep=False).findings)


def made_again(workspace: Workspace) -> list[Stage]:
    """What a run would compute of both dumps, computed."""
    stages: list[Stage] = []
    run_cache.renew(f"{run_cache.current_run()} again")

    def made(stage: Stage | None, *finish: Callable[..., object]) -> None:
        if stage is not None:
            stages.append(stage)
        compute(stage, *finish)  # type: ignore[arg-type]

    spec = backbones.fetch_backbone(workspace, FEATURES.backbone, backbones.BUNDLED)
    key = features.features_key(FEATURES, spec)
    for dumps in (("first",), ("first", "later")):
        made(features.plan(workspace, dumps[-1], FEATURES, spec, "cpu"))
        rows = FeatureRows(workspace, key, dumps)
        for stage, finish in neighbors.stages(rows, dumps[-1], NEIGHBORS, "cpu"):
            made(stage, finish)
    for dump in ("first", "later"):
        made(masks.plan(workspace, dump, CLUSTERS, MASKS, "cpu"), partial(masks.finish, workspace))
    return stages


DAMAGES = {
    "features/*/first.zarr/patches/c/0/0/0/0": "features first",
    "features/*/later.zarr/pooled/c/0/0": "features later",
    "features/*/first.zarr/images/c/0": "features first",
    "features/*/first.zarr/valid/zarr.json": "features first",
    "features/*/first.zarr/zarr.json": "features first",
    "features/*/first.zarr/plan.json": "features first",
    "features/*/first.zarr/manifest.json": "features first",
    "neighbors/*/later.zarr/similarities/c/0/0": "neighbors later",
    "neighbors/*/later.zarr/records/000000.json": "neighbors later",
    "masks/*/first/s001.png": "masks first",
    "masks/*/later/confidence.parquet": "masks later",
    "masks/*/later/records/000000.json": "masks later",
    "confidence/*/first/s001.png": "masks first",
}


@pytest.mark.parametrize("pattern", DAMAGES)
def test_the_same_stages_compute_just_what_was_damaged(workspace: Workspace, pattern: str) -> None:
    before, path = data(workspace), file_of(workspace, pattern)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (sentence,) = repaired(workspace)
    assert "its record was removed" in sentence
    assert [stage.title for stage in made_again(workspace)] == [DAMAGES[pattern]]
    assert doctor.examine(workspace, deep=True).findings == []
    assert data(workspace) == before


def test_a_table_is_joined_again_of_its_parts(workspace: Workspace) -> None:
    before = data(workspace)
    for name in (layout.INDEX_FILE, layout.QUARANTINE_FILE):
        path = file_of(workspace, f"corpus/first/{name}")
        path.write_bytes(b"PAR1" + path.read_bytes()[4:-100])
    sentences = repaired(workspace)
    assert len(sentences) == 2
    assert all("joined again" in sentence for sentence in sentences), sentences
    assert data(workspace) == before
    run_cache.renew(f"{run_cache.current_run()} again")
    assert doctor.examine(workspace, deep=False).findings == []


def test_without_parts_an_index_is_lost(workspace: Workspace) -> None:
    for path in Path(workspace.storage.uri).glob("corpus/first/parts/*"):
        path.unlink()
    index = file_of(workspace, "corpus/first/index.parquet")
    index.write_bytes(b"junk")
    finding = doctor.examine(workspace, deep=False).findings[0]
    assert finding.fate is Fate.LOST
    repaired(workspace)
    assert index.read_bytes() == b"junk"
    assert (index.parent / layout.MANIFEST).exists()


@pytest.mark.parametrize("pattern", ["masks/*/first/s001.png", "features/*/first.zarr/valid/c/0"])
def test_nothing_is_removed_whose_images_are_gone(
    workspace: Workspace, moved: Callable[[str], Path], pattern: str
) -> None:
    (moved("first") / "s003.png").unlink()
    path = file_of(workspace, pattern)
    path.write_bytes(b"junk")
    before = {file.path for file in workspace.storage.files()}
    (sentence,) = repaired(workspace)
    assert "left as it is" in sentence
    assert "s003.png" in sentence
    assert {file.path for file in workspace.storage.files()} == before


def test_what_is_sound_is_left_alone(workspace: Workspace) -> None:
    before = {file.path for file in workspace.storage.files()}
    assert repaired(workspace) == []
    assert {file.path for file in workspace.storage.files()} == before


def test_the_catalog_forgets_manifests_that_are_gone(workspace: Workspace) -> None:
    workspace.storage.write(layout.CATALOG_FILE, b"{}")
    file_of(workspace, "masks/*/first/s001.png").unlink()
    repaired(workspace)
    assert not workspace.storage.exists(layout.CATALOG_FILE)


@pytest.mark.parametrize("kept", range(2))
def test_a_repair_that_was_killed_is_finished_by_the_next(
    workspace: Workspace, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_of(workspace, "masks/*/first/s001.png").unlink()
    left, remove = [kept], Storage.remove

    def dying(storage: Storage, path: str) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        remove(storage, path)

    monkeypatch.setattr(Storage, "remove", dying)
    with pytest.raises(KeyboardInterrupt):
        repaired(workspace)
    monkeypatch.undo()
    assert len(repaired(workspace)) == 1
    assert [stage.title for stage in made_again(workspace)] == ["masks first"]
    assert doctor.examine(workspace, deep=False).findings == []


def test_a_lease_that_was_lost(workspace: Workspace) -> None:
    file_of(workspace, "masks/*/first/s001.png").unlink()
    before = {file.path for file in workspace.storage.files()}
    with lease.writing(workspace.storage):
        for name in workspace.storage.names(layout.WRITERS):
            workspace.storage.remove(f"{layout.WRITERS}/{name}")
        with pytest.raises(WorkspaceError, match=r"took .* over"):
            repaired(workspace)
    assert {file.path for file in workspace.storage.files()} == before
