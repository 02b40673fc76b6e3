"""A workspace: made once, opened by the version that knows it, its dumps in order."""

import json
import pickle
from pathlib import Path

import pytest

from stego_core.errors import DamageError, InputError, WorkspaceError
from tasks.storage.storage import Storage
from tasks.workspace import workspace as module
from tasks.workspace.workspace import FORMAT, Workspace


@pytest.fixture
def workspace(storage: Storage) -> Workspace:
    return Workspace.create(storage.uri)


class TestCreateAndOpen:
    def test_what_is_created_opens(self, storage: Storage) -> None:
        created = Workspace.create(storage.uri)
        assert Workspace.open(storage.uri) == created
        assert storage.names("") == ["workspace.json"]

    def test_creating_again_keeps_everything(self, workspace: Workspace) -> None:
        workspace.update_last_run(keys={"head": "k"})
        assert Workspace.create(workspace.storage.uri).last_run() == {"keys": {"head": "k"}}

    def test_none_there(self, storage: Storage) -> None:
        with pytest.raises(WorkspaceError, match="is not a workspace") as caught:
            Workspace.open(storage.uri)
        assert "`stego run`" in str(caught.value)
        assert not storage.exists("")

    def test_a_place_for_one(self, storage: Storage) -> None:
        assert not Workspace.at(storage.uri).is_made
        for name in ("stego.log", "stego.log.1", ".hidden", "writers/a.json"):
            storage.write(name, b"{}")
        place = Workspace.at(storage.uri)
        assert (place.is_made, place.dumps(), place.last_run_or_none()) == (False, [], None)
        assert Workspace.create(storage.uri) == place
        assert Workspace.at(storage.uri).is_made

    def test_no_place_among_other_files(self, storage: Storage) -> None:
        storage.write("photo.jpg", b"")
        with pytest.raises(WorkspaceError, match="is not a workspace"):
            Workspace.at(storage.uri)

    def test_a_file_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(WorkspaceError, match="is not a workspace"):
            Workspace.open(str(tmp_path / "notes.txt"))
        with pytest.raises(WorkspaceError, match="cannot be written"):
            Workspace.create(str(tmp_path / "notes.txt"))

    @pytest.mark.parametrize("action", [Workspace.open, Workspace.create])
    def test_another_format(self, workspace: Workspace, action: type) -> None:
        content = json.dumps({"format": FORMAT + 41}).encode()
        workspace.storage.write("workspace.json", content)
        with pytest.raises(WorkspaceError, match=f"format {FORMAT + 41}.*reads {FORMAT};"):
            action(workspace.storage.uri)
        assert workspace.storage.read("workspace.json") == content

    def test_a_newer_program_refuses_an_older_workspace(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "FORMAT", FORMAT + 1)
        with pytest.raises(WorkspaceError, match=f"format {FORMAT}, .* reads {FORMAT + 1};"):
            Workspace.open(workspace.storage.uri)

    @pytest.mark.parametrize("content", [b"", b"{", b"3", b"[1]", b"\xff"])
    def test_a_damaged_root(self, workspace: Workspace, content: bytes) -> None:
        workspace.storage.write("workspace.json", content)
        with pytest.raises(DamageError, match=r"workspace\.json"):
            Workspace.open(workspace.storage.uri)
        with pytest.raises(DamageError, match=r"workspace\.json"):
            Workspace.create(workspace.storage.uri)

    def test_travels_to_workers(self, workspace: Workspace) -> None:
        assert pickle.loads(pickle.dumps(workspace)) == workspace  # noqa: S301


class TestDumps:
    @pytest.mark.parametrize(
        "name", ["day-1", "2024.05.01", "_x", "Straße", "日本", "a", "a..b", "x" * 100]
    )
    def test_names_that_are_welcome(self, workspace: Workspace, name: str) -> None:
        workspace.corpus(name).finish({"sequence": 0})
        assert workspace.dumps() == [name]
        assert workspace.corpus(name).path == f"corpus/{name}"

    @pytest.mark.parametrize(
        "name",
        ["", ".", "..", ".hidden", "-rf", "../x", "a/b", "a/../b", "/etc", "a\\b", "a b", "a\n"],
    )
    def test_names_that_are_refused(self, workspace: Workspace, name: str) -> None:
        with pytest.raises(InputError, match=r"must be letters, digits.*--dump"):
            workspace.corpus(name)

    @pytest.mark.parametrize("name", ["x" * 101, "a\0b", "a:b", "*", " a"])
    def test_more_names_that_are_refused(self, workspace: Workspace, name: str) -> None:
        with pytest.raises(InputError, match="at most 100"):
            workspace.corpus(name)

    def test_come_in_the_order_of_arrival(self, workspace: Workspace) -> None:
        for sequence, name in enumerate(["z", "b", "a", "y", "x"]):
            workspace.corpus(name).finish({"sequence": sequence})
        assert workspace.dumps() == ["z", "b", "a", "y", "x"]

    def test_ten_come_after_nine(self, workspace: Workspace) -> None:
        for sequence in (10, 9, 2):
            workspace.corpus(f"d{sequence}").finish({"sequence": sequence})
        assert workspace.dumps() == ["d2", "d9", "d10"]

    def test_unfinished_ones_do_not_count(self, workspace: Workspace) -> None:
        assert workspace.dumps() == []
        workspace.corpus("begun").plan({"images": "x"})
        workspace.corpus("done").finish({"sequence": 0})
        assert workspace.dumps() == ["done"]

    def test_stray_files_do_not_count(self, workspace: Workspace) -> None:
        workspace.corpus("done").finish({"sequence": 0})
        workspace.storage.write("corpus/.DS_Store", b"\0")
        workspace.storage.write("corpus/notes.txt", b"mine")
        assert workspace.dumps() == ["done"]

    @pytest.mark.parametrize("place", ["https://host/ws", "hf://datasets/we/photos"])
    def test_a_place_that_is_read_only(self, place: str) -> None:
        for make in (Workspace.create, Workspace.open, Workspace.at):
            with pytest.raises(WorkspaceError, match="takes no workspace, it is read only"):
                make(place)


class TestFolders:
    def test_path(self, workspace: Workspace) -> None:
        assert workspace.folder("masks", "k", "day-1").path == "masks/k/day-1"
        assert workspace.folder("heads", "k").path == "heads/k"


class TestCurrent:
    def test_before_the_first_run(self, workspace: Workspace) -> None:
        assert workspace.last_run_or_none() is None
        with pytest.raises(WorkspaceError, match="`stego run` first"):
            workspace.last_run()

    def test_settling_replaces_entries_and_keeps_the_others(self, workspace: Workspace) -> None:
        workspace.update_last_run(keys={"head": "a"}, dumps=["x"])
        workspace.update_last_run(keys={"clusters": "b"})
        assert workspace.last_run() == {"keys": {"clusters": "b"}, "dumps": ["x"]}
        again = Workspace.open(workspace.storage.uri)
        assert again.last_run() == workspace.last_run()

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
    def test_damaged(self, workspace: Workspace, content: bytes) -> None:
        workspace.storage.write("current.json", content)
        with pytest.raises(DamageError, match=r"current\.json"):
            workspace.last_run()
        with pytest.raises(DamageError, match=r"current\.json"):
            workspace.update_last_run(keys={})
        assert workspace.storage.read("current.json") == content
