"""A workspace that was copied elsewhere: what people do with one works there, too."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from explorer_client import client

from flows.cli.main import main
from tasks.storage import run_cache
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

Captured = pytest.CaptureFixture[str]
LATER = 3


def copied(source: str, target: str) -> None:
    """Every file, as any tool copies them."""
    old, new = Storage.at(source), Storage.at(target)
    for file in old.files():
        new.write(file.path, old.read(file.path))


def status(workspace: str, capsys: Captured) -> dict[str, object]:
    capsys.readouterr()
    main(["status", "--workspace", workspace, "--json"])
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def use(workspace: str, later: Path, out: Path, capsys: Captured) -> None:
    """Everything at once; the dump `later` is new."""
    main(["doctor", "--workspace", workspace, "--deep"])
    assert "no findings" in capsys.readouterr().out
    with run_cache.during(workspace):
        asked = client(Workspace.open(workspace))
        overview = asked.get("/api/overview").json()
        assert overview["classes"]
        point = "dump=train&row=2&x=0.3&y=0.55"
        assert asked.get(f"/api/heat?{point}").status_code == 200
    given = ["--images", str(later / "images"), "--dump", "later", "--executor", "loop"]
    main(["backfill", "--workspace", workspace, *given])
    image = next((later / "images").iterdir())
    main(["segment", str(image), "--workspace", workspace, "--out", str(out / "loose")])
    assert list((out / "loose").iterdir())
    masks = ["--format", "masks", "--out", str(out / "masks")]
    main(["export", "--workspace", workspace, *masks])
    main(["prune", "--workspace", workspace, "--days", "0", "--second-copies", "--remove"])
    main(["doctor", "--workspace", workspace, "--deep"])
    assert "no findings" in capsys.readouterr().out
    dumps = status(workspace, capsys)["dumps"]
    assert isinstance(dumps, dict)
    assert dumps["later"]["masks"] == LATER


@pytest.mark.long
def test_on_a_disk_where_the_first_one_is_gone(
    explored: Path, tmp_path: Path, make_corpus: Callable[..., Path], capsys: Captured
) -> None:
    shutil.copytree(explored / "ws", tmp_path / "old")
    before = status(str(tmp_path / "old"), capsys)
    shutil.move(tmp_path / "old", tmp_path / "elsewhere")
    workspace = str(tmp_path / "elsewhere")
    after = status(workspace, capsys)
    assert {**before, "workspace": ""} == {**after, "workspace": ""}
    later = make_corpus(tmp_path / "later", LATER, first=40)
    use(workspace, later, tmp_path, capsys)
    named = [
        file.path
        for file in Storage.at(workspace).files()
        if str(tmp_path / "old").encode() in Storage.at(workspace).read(file.path)
    ]
    assert [path for path in named if not path.startswith("stego.log")] == []


@pytest.mark.long
def test_from_a_disk_to_s3_and_back(
    explored: Path,
    tmp_path: Path,
    make_corpus: Callable[..., Path],
    s3_environment: str,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where the log of a distant workspace goes
    bucket = f"{s3_environment}/ws"
    copied(str(explored / "ws"), bucket)
    later = make_corpus(tmp_path / "later", LATER, first=40)
    use(bucket, later, tmp_path, capsys)
    back = str(tmp_path / "back")
    copied(bucket, back)
    assert {**status(back, capsys), "workspace": ""} == {
        **status(bucket, capsys), "workspace": "",
    }  # fmt: skip
    main(["doctor", "--workspace", back])
    assert "no findings" in capsys.readouterr().out
