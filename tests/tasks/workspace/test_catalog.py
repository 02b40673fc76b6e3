"""The catalog: what it says is what the manifests say, whatever is killed, removed or damaged."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stego_core.errors import WorkspaceError
from tasks.storage import run_cache
from tasks.storage.storage import Storage
from tasks.workspace import catalog_file, layout, lease
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

KEYS = {"features": "f", "masks": "m", "clusters": "c"}
TABLES = {"neighbors": "n", "scores": "s"}
WRITES = 24
"""Files that two nights write."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(str(tmp_path / "ws"))
    made.update_last_run(keys=KEYS)
    made.folder("clusters", "c").finish({"classes": 2})
    return made


def corpus(sequence: int, **more: Any) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "index": f"index-{sequence}",
        "images_uri": "/images",
        "images": 5,
        "labelled": 0,
        "quarantined": 1,
        "megapixels": 0.5,
        "values": {
            "told": ["5 files"],
            "warnings": [],
            "no_data": {"share": 0.0, "images": 0},
            "renderings": [{"form": {"dtype": "uint8"}}],
        },
        **more,
    }


def add(workspace: Workspace, dump: str, sequence: int) -> None:
    """A dump as a night leaves it, its stages one after another, the catalog last."""
    masks = {"masks": 4, "flicker": None, "version": 4, "pixels": [6, 2]}
    masks |= {"margins": [2.0, 0.2], "invalid": {"3": "gone"}}
    run, own = workspace.last_run(), f"{TABLES['neighbors']}-{dump}"
    stages: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("corpus", dump), corpus(sequence)),
        (("features", "f", f"{dump}.zarr"), {"invalid": {"3": "gone", "4": "gone"}}),
        (("neighbors", own, f"{dump}.zarr"), {}),
        (("masks", "m", dump), masks),
        (("scores", f"s-{dump}", dump), {"scores": {"miou": 9.0}, "matching": {"stego": []}}),
    ]
    for path, manifest in stages:
        folder = workspace.folder(*path)
        folder.plan({"dump": dump})
        if not folder.finished:
            folder.finish(manifest)
    neighbors = {**run.get("neighbors", {}), dump: own}
    workspace.update_last_run(
        neighbors=neighbors, scores={**run.get("scores", {}), dump: f"s-{dump}"}
    )
    workspace.save_catalog()


def stored(workspace: Workspace) -> bytes:
    return workspace.storage.read(layout.CATALOG_FILE)


def rebuilt(workspace: Workspace) -> bytes:
    """The catalog made from manifests alone."""
    before = stored(workspace)
    workspace.storage.remove(layout.CATALOG_FILE)
    workspace.save_catalog()
    made = stored(workspace)
    workspace.storage.write(layout.CATALOG_FILE, before)
    return made


def documents_read(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> list[str]:
    """Paths of the JSON files that a call reads."""
    paths: list[str] = []
    document = Storage.document

    def noted(storage: Storage, path: str) -> dict[str, Any] | None:
        paths.append(path)
        return document(storage, path)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "document", noted)
        call()
    return paths


def remove(workspace: Workspace, *path: str) -> None:
    """As a person does."""
    shutil.rmtree(Path(workspace.storage.uri).joinpath(*path))


class TestEntries:
    def test_say_what_the_manifests_say(self, workspace: Workspace) -> None:
        add(workspace, "day", 0)
        entry = workspace.catalog()["day"]
        assert entry.corpus["values"] == {
            "told": ["5 files"],
            "warnings": [],
            "no_data": {"share": 0.0, "images": 0},
            "forms": entry.corpus["values"]["forms"],
        }
        assert entry.stages["masks"]["margins"] == [510, 51]  # of 255
        assert entry.stages["scores"]["scores"] == {"miou": 9.0}
        assert entry.quarantined == 1 + 2  # row 3 is named by features and masks

    def test_margins_of_all_dumps_are_added_up(self, workspace: Workspace) -> None:
        for number, dump in enumerate(("a", "b", "c")):
            add(workspace, dump, number)
        sums = Summary(workspace).class_margins()
        assert sums.pixels.tolist() == [18, 6]
        assert sums.margins.tolist() == pytest.approx([6.0, 0.6])
        assert sums.shares().tolist() == [0.75, 0.25]

    def test_come_in_the_order_of_arrival(self, workspace: Workspace) -> None:
        for number, dump in enumerate(("z", "a", "m")):
            add(workspace, dump, number)
        assert list(workspace.catalog()) == workspace.dumps() == ["z", "a", "m"]
        workspace.storage.remove(layout.CATALOG_FILE)
        assert list(workspace.catalog()) == workspace.dumps() == ["z", "a", "m"]


class TestReading:
    def test_known_dumps_cost_no_manifest(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(3):
            add(workspace, f"d{number}", number)
        paths = documents_read(monkeypatch, workspace.catalog)
        assert sorted(paths) == ["catalog.json", "current.json"]
        assert documents_read(monkeypatch, workspace.dumps) == ["catalog.json"]

    def test_a_new_dump_costs_its_own_manifests(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(3):
            add(workspace, f"d{number}", number)
        workspace.corpus("new").finish(corpus(3))
        paths = documents_read(monkeypatch, workspace.catalog)
        assert all("new" in path for path in paths if "manifest" in path)
        assert workspace.dumps()[-1] == "new"
        assert not Summary(workspace).done("masks", "new")

    def test_a_stage_that_was_finished_since_is_seen(self, workspace: Workspace) -> None:
        workspace.corpus("day").finish(corpus(0))
        workspace.save_catalog()
        workspace.folder("masks", "m", "day").finish({"masks": 5, "pixels": [1, 1]})
        assert Summary(workspace).done("masks", "day")

    def test_under_other_keys_nothing_is_finished_and_nothing_is_read(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(workspace, "day", 0)
        workspace.update_last_run(keys={"clusters": "c", "masks": "other"})
        paths = documents_read(monkeypatch, workspace.catalog)
        assert not any("manifest" in path for path in paths)
        entry = workspace.catalog()["day"]
        assert (entry.key("masks"), entry.key("features")) == (None, None)
        assert entry.quarantined == 1
        workspace.save_catalog()
        assert stored(workspace) == rebuilt(workspace)
        workspace.update_last_run(keys=KEYS)  # and back again
        assert workspace.catalog()["day"].key("masks") == "m"


class TestRemovedFolders:
    def test_a_dump(self, workspace: Workspace) -> None:
        add(workspace, "a", 0)
        add(workspace, "b", 1)
        remove(workspace, "corpus", "a")
        assert workspace.dumps() == list(workspace.catalog()) == ["b"]
        workspace.save_catalog()
        assert stored(workspace) == rebuilt(workspace)

    @pytest.mark.parametrize("stage", ["features", "neighbors", "masks", "scores"])
    def test_an_outcome(self, workspace: Workspace, stage: str) -> None:
        add(workspace, "day", 0)
        key = KEYS.get(stage) or f"{TABLES[stage]}-day"
        remove(workspace, stage, key)
        assert not Summary(workspace).done(stage, "day")
        workspace.save_catalog()
        assert stored(workspace) == rebuilt(workspace)

    @pytest.mark.parametrize(
        "path",
        [("corpus", "day"), ("masks", "m", "day"), ("features", "f", "day.zarr"),
         ("neighbors", "n-day", "day.zarr"), ("scores", "s-day", "day")],
    )  # fmt: skip
    def test_begun_anew_it_is_unfinished(self, workspace: Workspace, path: tuple[str, ...]) -> None:
        add(workspace, "day", 0)
        add(workspace, "other", 1)
        remove(workspace, *path)
        workspace.folder(*path).plan({"dump": "day"})
        summary = Summary(workspace)
        assert summary.done("masks", "other")
        if path[0] == "corpus":
            assert workspace.dumps() == ["other"]
        else:
            assert not summary.done(path[0], "day")
        add(workspace, "day", 0)
        assert stored(workspace) == rebuilt(workspace)

    def test_other_folders_leave_it_alone(self, workspace: Workspace) -> None:
        add(workspace, "day", 0)
        before = stored(workspace)
        for path in (
            ("masks", "baseline", "day"),
            ("neighbors", "n-day", "lists"),
            ("drift", "k", "day"),
            ("clusters", "k"),
        ):
            workspace.folder(*path).plan({"dump": "day"})
        assert stored(workspace) == before


class TestKills:
    def test_between_any_two_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next run's catalog is that of the manifests, and that of a run without a kill."""

        def night(workspace: Workspace) -> None:
            add(workspace, "a", 0)
            add(workspace, "b", 1)

        def begun(name: str) -> Workspace:
            made = Workspace.create(str(tmp_path / name))
            made.update_last_run(keys=KEYS)
            return made

        whole = begun("whole")
        night(whole)
        write, left = Storage.write, 0

        def killed(storage: Storage, path: str, content: bytes) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write(storage, path, content)

        for number in range(WRITES):
            place = begun(f"killed-{number}")
            left = number
            with monkeypatch.context() as patched:
                patched.setattr(Storage, "write", killed)
                with pytest.raises(KeyboardInterrupt):
                    night(place)
            before = Summary(place).catalog
            assert {n: e.document() for n, e in before.items()} == manifests_alone(place)
            night(place)
            assert stored(place) == rebuilt(place) == stored(whole)
        left, last = WRITES, begun("to-the-end")
        with monkeypatch.context() as patched:
            patched.setattr(Storage, "write", killed)
            night(last)
        assert left == 0


def manifests_alone(workspace: Workspace) -> dict[str, Any]:
    """What a reader finds where there is no catalog."""
    path = Path(workspace.storage.uri, layout.CATALOG_FILE)
    content = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    documents = {name: entry.document() for name, entry in workspace.catalog().items()}
    if content is not None:
        path.write_bytes(content)
    return documents


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b'{"format": 99, "dumps": {}}', b'{"format": 1}',
         b'{"format": 1, "dumps": {"day": {"corpus": {}}}}',
         b'{"format": 1, "dumps": {"day": {"corpus": {}, "stages": {}, "unused": 0,'
         b' "unread_twice": 0}}}'],
    )  # fmt: skip
    def test_is_as_good_as_none(self, workspace: Workspace, content: bytes) -> None:
        add(workspace, "day", 0)
        before = stored(workspace)
        workspace.storage.write(layout.CATALOG_FILE, content)
        assert workspace.dumps() == ["day"]
        assert Summary(workspace).done("masks", "day")
        workspace.save_catalog()
        assert stored(workspace) == before

    def test_a_workspace_without_one_says_so_in_one_line(
        self, workspace: Workspace, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(3):
            add(workspace, f"d{number}", number)
        workspace.storage.remove(layout.CATALOG_FILE)
        with caplog.at_level(logging.INFO), run_cache.during("a run"):
            workspace.catalog()
            workspace.catalog()
        assert caplog.text.count("no catalog of dumps") == 1

    def test_whoever_lost_the_lease_writes_none(self, workspace: Workspace) -> None:
        with lease.writing(workspace.storage):
            workspace.corpus("day").finish(corpus(0))
            for file in Path(workspace.storage.uri, "writers").iterdir():
                file.unlink()
            with pytest.raises(WorkspaceError, match="another run took"):
                workspace.save_catalog()
        assert not workspace.storage.exists(layout.CATALOG_FILE)

    def test_equal_entries_are_equal_bytes(self, workspace: Workspace) -> None:
        add(workspace, "day", 0)
        entries = catalog_file.load(workspace.storage)
        assert entries is not None
        assert catalog_file.encode(entries) == stored(workspace)
