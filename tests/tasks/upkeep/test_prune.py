"""What goes and what stays, on a disk and on S3, and a removal that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stego_core.errors import DamageError, WorkspaceError
from tasks.storage import run_cache
from tasks.storage.storage import Storage
from tasks.upkeep import doctor, prune
from tasks.upkeep.damage_findings import Fate
from tasks.upkeep.prune import PruneOptions
from tasks.workspace import layout, lease
from tasks.workspace.ledger import Record
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

OLD = "0123456789abcdef"
ALL = PruneOptions(days=0)
Captured = pytest.CaptureFixture[str]


def files(workspace: Workspace) -> dict[str, bytes]:
    """Every file and its content."""
    storage = workspace.storage
    return {file.path: storage.read(file.path) for file in storage.files()}


def add_old_run(workspace: Workspace) -> set[str]:
    """Folders of a run with other options, which is not current; returns their files."""
    before = {file.path for file in workspace.storage.files()}
    for stage in (layout.MASKS, layout.SCORES, layout.DRIFT):
        made = workspace.folder(stage, OLD, "first")
        made.plan({"dump": "first"})
        workspace.storage.write(f"{made.path}/a.png", b"0" * 1000)
        made.record(Record(0, (0, 1), 1000, "0"))
        made.finish({"inputs": {"masks": OLD, "features": OLD}})
    for stage in (layout.FEATURES, layout.HEADS, layout.CLUSTERS, layout.PATCHES):
        workspace.folder(stage, OLD).finish({"inputs": {}})
    workspace.storage.write(f"{layout.OVERLAYS}/{OLD}/first/a.jpg", b"1" * 500)
    workspace.storage.write(f"{layout.SCORES}/probes/{OLD}/probe.safetensors", b"2")
    return {file.path for file in workspace.storage.files()} - before


def paths(chosen: list[Any]) -> set[str]:
    return {source.path for entry, _ in chosen for source in entry.sources}


def pruned(workspace: Workspace, options: PruneOptions = ALL) -> prune.PrunePlan:
    """Prune it; nothing is left to do for a second time."""
    planned = prune.plan(workspace, options)
    prune.remove(workspace, planned)
    assert prune.plan(workspace, options).going == []
    return planned


def test_what_a_run_with_other_options_left_goes_and_nothing_else(workspace: Workspace) -> None:
    before, extra = files(workspace), add_old_run(workspace)
    planned = pruned(workspace)
    assert files(workspace) == before
    assert {source for source in paths(planned.going) if OLD in source} == {
        f"{top}/{OLD}" for top in (
            "masks", "overlays", "confidence", "scores", "drift", "features", "heads", "clusters",
            "patches", "scores/probes",
        )
    }  # fmt: skip
    assert sum(entry.files for entry, _ in planned.going) == len(extra)
    assert not (Path(workspace.storage.uri) / "masks" / OLD).exists()


def test_a_plan_changes_nothing(workspace: Workspace) -> None:
    add_old_run(workspace)
    before = files(workspace)
    planned = prune.plan(workspace, ALL)
    assert files(workspace) == before
    document = planned.document(workspace, removed=False)
    masks = next(f for f in document["folders"] if f["paths"][0] == f"masks/{OLD}")
    mine = (f"masks/{OLD}/", f"overlays/{OLD}/")
    sizes = [len(content) for path, content in before.items() if path.startswith(mine)]
    assert (masks["files"], masks["bytes"]) == (len(sizes), sum(sizes))
    assert document["bytes"] == sum(each["bytes"] for each in document["folders"])


class TestAge:
    def test_what_was_written_lately_stays_for_a_killed_run(self, workspace: Workspace) -> None:
        extra = add_old_run(workspace)
        planned = pruned(workspace, PruneOptions())
        assert not any(OLD in path for path in paths(planned.going))
        assert any(OLD in path for path in paths(planned.staying))
        assert extra <= {*files(workspace)}

    def test_after_that_it_goes(self, workspace: Workspace) -> None:
        add_old_run(workspace)
        later = time.time() + 8 * 86_400
        planned = prune.plan(workspace, PruneOptions(), clock=lambda: later)
        assert any(OLD in path for path in paths(planned.going))
        assert planned.staying == []

    def test_what_something_young_is_made_from_stays(self, workspace: Workspace) -> None:
        add_old_run(workspace)
        head = "f" * 16
        workspace.folder(layout.CLUSTERS, OLD).finish({"inputs": {"head": head}})
        workspace.folder(layout.HEADS, head).finish({"inputs": {}})
        for path in Path(workspace.storage.uri).rglob("*"):
            if head in str(path):
                os.utime(path, (0, 1000))
        planned = prune.plan(workspace, PruneOptions())
        assert f"heads/{head}" in paths(planned.staying)
        assert f"heads/{head}" in paths(prune.plan(workspace, ALL).going)

    def test_masks_stay_with_their_overlays(self, workspace: Workspace) -> None:
        add_old_run(workspace)
        for path in (Path(workspace.storage.uri) / "masks" / OLD).rglob("*"):
            os.utime(path, (0, 1000))
        assert f"masks/{OLD}" in paths(prune.plan(workspace, PruneOptions()).staying)


class TestWhatIsKept:
    def test_names_unless_asked(self, workspace: Workspace) -> None:
        revision = f"{layout.class_revisions(OLD)}/000001-{OLD}.toml"
        workspace.storage.write(revision, b"x")
        assert revision in files(workspace)
        assert not paths(pruned(workspace).going) & {revision}
        assert workspace.storage.exists(revision)
        pruned(workspace, PruneOptions(days=0, names=True))
        assert not workspace.storage.exists(revision)

    def test_names_of_current_clusters_always(self, workspace: Workspace) -> None:
        clusters = Summary(workspace).require("clusters")
        revision = f"{layout.class_revisions(clusters)}/000001-{OLD}.toml"
        workspace.storage.write(revision, b"x")
        pruned(workspace, PruneOptions(days=0, names=True))
        assert workspace.storage.exists(revision)

    def test_trained_backbones_unless_asked(self, workspace: Workspace) -> None:
        workspace.folder(layout.PRETRAIN, OLD).finish({"inputs": {}})
        planned = pruned(workspace)
        assert "--pretrained" in {e.path: why for e, why in planned.staying}[f"pretrain/{OLD}"]
        pruned(workspace, PruneOptions(days=0, pretrained=True))
        assert not workspace.storage.exists(f"pretrain/{OLD}")

    def test_unknown_files_and_folders(self, workspace: Workspace) -> None:
        for path in ("notes.txt", "features/mine.txt", "my folder/a.png", "exports/a/b.png"):
            workspace.storage.write(path, b"mine")
        planned = pruned(workspace)
        assert planned.unknown == ["features/mine.txt", "my folder", "notes.txt"]
        assert workspace.storage.read("my folder/a.png") == b"mine"
        assert workspace.storage.read("exports/a/b.png") == b"mine"

    def test_what_lies_behind_a_link(self, workspace: Workspace, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "precious").write_text("x")
        os.symlink(elsewhere, Path(workspace.storage.uri) / "heads" / OLD)
        planned = pruned(workspace)
        assert "link" in {e.path: why for e, why in planned.staying}[f"heads/{OLD}"]
        assert (elsewhere / "precious").exists()

    def test_what_scores_and_drift_name(self, workspace: Workspace) -> None:
        """The probe of current scores, and a drift between current features and masks."""
        keys = Summary(workspace).keys
        probe, scores, drift = "1" * 16, "2" * 16, "3" * 16
        workspace.folder(layout.SCORES, "probes", probe).finish({"head": keys["clusters"]})
        workspace.folder(layout.SCORES, scores, "first").finish(
            {"inputs": {"probe": f"scores/probes/{probe}/probe.safetensors"}}
        )
        inputs = {"features": keys["features"], "masks": keys["masks"]}
        workspace.folder(layout.DRIFT, drift, "later").finish({"inputs": inputs})
        workspace.folder(layout.DRIFT, "training", drift).finish({"inputs": inputs})
        workspace.update_last_run(scores={"first": scores})
        before = files(workspace)
        pruned(workspace)
        assert {*before} == {*files(workspace)}


class TestLeftovers:
    def test_of_killed_writers(self, workspace: Workspace) -> None:
        root, name = Path(workspace.storage.uri), "0" * 32
        old, zarr, new = (root / "masks" / n for n in (
            f".{name}.partial", f"0.{name}.partial", f".{'1' * 32}.partial"))  # fmt: skip
        mine = root / "exports" / "my.partial"
        mine.parent.mkdir()
        for path in (old, zarr, new, mine):
            path.write_bytes(b"half")
        for path in (old, zarr, mine):
            os.utime(path, (0, 1000))
        pruned(workspace)
        assert [path.exists() for path in (old, zarr, new, mine)] == [False, False, True, True]

    def test_samples_of_finished_clusters(self, workspace: Workspace) -> None:
        clusters = layout.clusters(Summary(workspace).require("clusters"))
        for part in (layout.codes(clusters), layout.restarts(clusters)):
            workspace.folder(part).finish({})
            workspace.storage.write(f"{part}/a", b"1")
        unfinished = layout.clusters("7" * 16)
        workspace.storage.write(f"{layout.codes(unfinished)}/a", b"1")
        pruned(workspace, PruneOptions())
        assert not workspace.storage.exists(layout.codes(clusters))
        assert workspace.storage.exists(f"{clusters}/{layout.CENTROIDS_FILE}")
        assert workspace.storage.exists(layout.codes(unfinished))

    def test_lists_of_finished_tables(self, workspace: Workspace) -> None:
        first, later = (workspace.last_run()["neighbors"][d] for d in ("first", "later"))
        for key in (first, later):
            workspace.storage.write(f"{layout.neighbor_lists(key)}/segments/000.faiss", b"1")
        workspace.storage.remove(f"{layout.neighbors(later, 'later')}/{layout.MANIFEST}")
        pruned(workspace, PruneOptions())
        assert not workspace.storage.exists(layout.neighbor_lists(first))
        assert workspace.storage.exists(layout.neighbor_lists(later))

    def test_names_of_tables_that_are_gone(self, workspace: Workspace) -> None:
        current = workspace.last_run()["neighbors"]["first"]
        for key in (current, OLD):
            workspace.storage.write(f"{layout.NEIGHBOR_MARKS}/first/{key}", b"")
        pruned(workspace)
        assert workspace.storage.names(f"{layout.NEIGHBOR_MARKS}/first") == [current]

    def test_second_copies_only_if_asked(self, workspace: Workspace) -> None:
        workspace.storage.write(f"pretrain/{OLD}/checkpoints/1.safetensors", b"1")
        workspace.folder(layout.PRETRAIN, OLD).finish({})
        pruned(workspace)
        assert len(workspace.storage.names("corpus/first/parts")) == 3
        pruned(workspace, PruneOptions(days=0, second_copies=True))
        assert not workspace.storage.names("corpus/first/parts")
        assert not workspace.storage.exists(f"pretrain/{OLD}/checkpoints")
        assert workspace.storage.exists("corpus/first/index.parquet")


class TestRefusals:
    def test_before_the_first_run_nothing_says_what_is_in_use(self, tmp_path: Path) -> None:
        empty = Workspace.create(str(tmp_path / "ws"))
        with pytest.raises(WorkspaceError, match="run `stego run` first"):
            prune.plan(empty, ALL)

    @pytest.mark.parametrize("stage", ["clusters", "masks"])
    def test_a_damaged_manifest_in_use(self, workspace: Workspace, stage: str) -> None:
        add_old_run(workspace)
        inner = "" if stage == "clusters" else "/first"
        path = f"{stage}/{Summary(workspace).keys[stage]}{inner}/{layout.MANIFEST}"
        workspace.storage.write(path, b"{")
        with pytest.raises(DamageError, match=r"nothing can be removed.*stego doctor"):
            prune.plan(workspace, ALL)

    def test_a_damaged_manifest_of_an_old_run_is_none(self, workspace: Workspace) -> None:
        add_old_run(workspace)
        workspace.storage.write(f"masks/{OLD}/first/{layout.MANIFEST}", b"{")
        pruned(workspace, PruneOptions())
        pruned(workspace)
        assert not workspace.storage.exists(f"masks/{OLD}")

    def test_a_lease_that_was_lost(self, workspace: Workspace) -> None:
        add_old_run(workspace)
        planned, before = prune.plan(workspace, ALL), files(workspace)
        with lease.writing(workspace.storage):
            for name in workspace.storage.names(layout.WRITERS):
                workspace.storage.remove(f"{layout.WRITERS}/{name}")
            with pytest.raises(WorkspaceError, match=r"took .* over"):
                prune.remove(workspace, planned)
        assert files(workspace) == before


@pytest.mark.parametrize("kept", range(0, 18, 3))
def test_a_kill_leaves_a_workspace_that_a_second_prune_finishes(
    workspace: Workspace, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(workspace)
    add_old_run(workspace)
    planned, count, remove = prune.plan(workspace, ALL), [0], Storage.remove

    def dying(storage: Storage, path: str) -> None:
        if count[0] >= kept:
            raise KeyboardInterrupt
        count[0] += 1
        remove(storage, path)

    monkeypatch.setattr(Storage, "remove", dying)
    with pytest.raises(KeyboardInterrupt):
        prune.remove(workspace, planned)
    monkeypatch.undo()
    now = files(workspace)
    for top in ("masks", "scores", "drift"):
        folder = f"{top}/{OLD}/first"
        # Nothing says of data that they are there which are not.
        if f"{folder}/a.png" not in now:
            assert f"{folder}/{layout.MANIFEST}" not in now
            assert f"{folder}/{layout.RECORDS}/000000.json" not in now
    pruned(workspace)
    assert {*files(workspace)} == {*before}


KILLED = """
import itertools, os, signal, sys
from flows.cli.main import main
from tasks.storage.storage import Storage

removals, remove = itertools.count(), Storage.remove

def dying(storage, path):
    remove(storage, path)
    if next(removals) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

Storage.remove = dying
main(sys.argv[2:])
"""
"""The command, which dies after so many removals."""


def prune_in_a_process(workspace: Workspace, killed_after: int | None = None) -> int:
    """Exit code of the command."""
    how = ["-m", "flows"] if killed_after is None else ["-c", KILLED, str(killed_after)]
    where = ["prune", "--workspace", workspace.storage.uri, "--days", "0", "--remove"]
    return subprocess.run([sys.executable, *how, *where], stdout=subprocess.DEVNULL).returncode


@pytest.mark.long
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_process_that_is_killed_loses_nothing_that_is_in_use(
    workspace: Workspace, share: float
) -> None:
    """SIGKILL after this share of a folder's files is gone; then doctor, and prune again."""
    before, count = files(workspace), 4000
    add_old_run(workspace)
    folder = Path(workspace.storage.uri) / "masks" / OLD / "first"
    for number in range(count):
        (folder / f"{number}.png").write_bytes(b"0")
    assert prune_in_a_process(workspace, round(share * count)) == -signal.SIGKILL
    now = files(workspace)
    assert 0 < len([path for path in now if path.startswith(f"masks/{OLD}/")]) < count
    assert {path: now.get(path) for path in before} == before
    assert f"masks/{OLD}/first/{layout.MANIFEST}" not in now
    examination = doctor.examine(workspace, deep=True)
    assert {finding.fate for finding in examination.findings} <= {Fate.HARMLESS}
    assert prune_in_a_process(workspace) == 0
    assert {path: c for path, c in files(workspace).items() if path != "stego.log"} == before
    run_cache.renew("pruned")
    assert doctor.examine(workspace, deep=True).findings == []


@pytest.mark.long
def test_on_s3(workspace: Workspace, s3_environment: str) -> None:
    """The same on S3, where a copy of the workspace works without a change."""
    add_old_run(workspace)
    target = Storage.at(f"{s3_environment}/copy")
    for path, content in files(workspace).items():
        target.write(path, content)
    copy = Workspace.open(target.uri)
    assert not any(OLD in path for path in paths(prune.plan(copy, PruneOptions()).going))
    on_disk, planned = pruned(workspace), pruned(copy)
    assert paths(planned.going) == paths(on_disk.going)
    assert files(copy) == files(workspace)
    assert Summary(copy).dumps == ["first", "later"]


def test_keys_that_a_later_version_adds_are_in_use(workspace: Workspace) -> None:
    add_old_run(workspace)
    keys = workspace.last_run()["keys"]
    workspace.update_last_run(keys={**keys, "something_new": OLD})
    assert not any(OLD in path for path in paths(prune.plan(workspace, ALL).going))
    assert json.loads(workspace.storage.read(layout.CURRENT_FILE))["keys"]["something_new"] == OLD
