"""`stego prune`: a list first, removal by a flag, for oneself alone."""

import json
from pathlib import Path

import pytest

from flows.cli.main import main
from tasks.storage.storage import Storage
from tasks.workspace.layout import WRITERS

Captured = pytest.CaptureFixture[str]
OLD = "heads/0123456789abcdef"


@pytest.fixture
def used(own: str) -> str:
    """A workspace with a head of another run."""
    Storage.at(own).write(f"{OLD}/head.safetensors", b"0" * 2000)
    return own


class TestPrune:
    def test_lists_first_and_removes_by_a_flag(self, used: str, capsys: Captured) -> None:
        main(["prune", "--workspace", used, "--days", "0"])
        output = capsys.readouterr()
        assert OLD in output.out
        assert "nothing was removed; the same command with --remove removes" in output.out
        assert (Path(used) / OLD).exists()
        main(["prune", "--workspace", used, "--days", "0", "--remove", "--json"])
        document = json.loads(capsys.readouterr().out)
        assert document["removed"]
        assert [OLD] in [folder["paths"] for folder in document["folders"]]
        assert not (Path(used) / OLD).exists()
        main(["status", "--workspace", used])
        main(["prune", "--workspace", used, "--days", "0"])
        assert "nothing is left over" in capsys.readouterr().out

    def test_what_is_young_is_said_to_stay(self, used: str, capsys: Captured) -> None:
        main(["prune", "--workspace", used, "--json"])
        document = json.loads(capsys.readouterr().out)
        assert [folder["paths"] for folder in document["kept"]] == [[OLD]]
        assert "last 7 days" in document["kept"][0]["why"]

    def test_never_while_another_writes(self, used: str, capsys: Captured) -> None:
        other = {"host": "elsewhere", "pid": 17, "since": "yesterday", "held": True}
        Storage.at(used).write(f"{WRITERS}/other.json", json.dumps(other).encode())
        main(["prune", "--workspace", used, "--days", "0"])
        assert "process 17 on elsewhere" in capsys.readouterr().err
        with pytest.raises(SystemExit) as ended:
            main(["prune", "--workspace", used, "--days", "0", "--remove", "--wait", "0"])
        assert ended.value.code == 75
        assert "is being written by process" in capsys.readouterr().err
        assert (Path(used) / OLD).exists()

    def test_a_folder_that_is_no_workspace(self, tmp_path: Path, capsys: Captured) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["prune", "--workspace", str(tmp_path), "--remove"])
        assert ended.value.code == 2
        assert "is not a workspace" in " ".join(capsys.readouterr().err.split())


class TestDoctor:
    def test_nothing_is_wrong(self, own: str, capsys: Captured) -> None:
        main(["doctor", "--workspace", own, "--deep"])
        assert "2 dumps; no findings" in capsys.readouterr().out

    def test_damage_has_an_exit_code_and_a_command(self, own: str, capsys: Captured) -> None:
        mask = next(Path(own).glob("masks/*/later/*.png"))
        mask.write_bytes(b"junk")
        for flags, said in (([], "--repair` prepares"), (["--repair"], "run the commands")):
            with pytest.raises(SystemExit) as ended:
                main(["doctor", "--workspace", own, *flags, "--json"])
            assert ended.value.code == 2
            output = capsys.readouterr()
            assert said in " ".join(output.err.split())
            document = json.loads(output.out)
            (finding,) = document["findings"]
            assert finding["path"].endswith(mask.name)
            assert finding["remedy"] == f"stego masks --workspace {own} --dumps later"
            assert len(document["repaired"]) == len(flags)
        main(["masks", "--workspace", own, "--dumps", "later", "--executor", "loop"])
        main(["doctor", "--workspace", own])
        assert "no findings" in capsys.readouterr().out

    def test_a_repair_is_for_oneself_alone(self, own: str, capsys: Captured) -> None:
        other = {"host": "elsewhere", "pid": 17, "since": "yesterday", "held": True}
        Storage.at(own).write(f"{WRITERS}/other.json", json.dumps(other).encode())
        main(["doctor", "--workspace", own])
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--workspace", own, "--repair", "--wait", "0"])
        assert ended.value.code == 75
        assert "is being written by process 17" in capsys.readouterr().err
