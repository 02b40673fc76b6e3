"""`stego status` and `export`: as JSON, for people, and as files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli.main import main
from flows.cli.results import printed

Captured = pytest.CaptureFixture[str]


def test_json_keeps_letters_and_its_order(capsys: Captured) -> None:
    show = printed({"b": "straße", "a": [1]})
    assert show is not None
    assert capsys.readouterr().out == ""  # not before it is shown
    show()
    assert capsys.readouterr().out == '{\n "b": "straße",\n "a": [\n  1\n ]\n}\n'


class TestStatus:
    def test_counts(self, own: str, capsys: Captured) -> None:
        main(["status", "--workspace", own, "--json"])
        document = json.loads(capsys.readouterr().out)
        assert {name: dump["images"] for name, dump in document["dumps"].items()} == {
            "first": 6, "later": 3,
        }  # fmt: skip
        main(["status", "--workspace", own])
        assert "workspace" in capsys.readouterr().out

    @pytest.mark.parametrize("flag", ["--uncertain", "--doubtful"])
    def test_the_least_certain_come_first(self, own: str, capsys: Captured, flag: str) -> None:
        main(["status", "--workspace", own, flag, "4", "--json"])
        rows = json.loads(capsys.readouterr().out)
        assert len(rows) == 4
        doubts = [row["doubt"] for row in rows]
        assert doubts == sorted(doubts, reverse=True)

    def test_none_is_too_few(self, own: str, capsys: Captured) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["status", "--workspace", own, "--uncertain", "0"])
        assert ended.value.code == 2
        assert "Must be >= 1" in " ".join(capsys.readouterr().err.split())


class TestExport:
    def test_masks_of_one_dump(self, own: str, tmp_path: Path, capsys: Captured) -> None:
        given = ("--format", "masks", "--dumps", "later", "--out", str(tmp_path / "out"))
        main(["export", "--workspace", own, *given])
        assert f"masks: 3 images in {tmp_path / 'out'}" in capsys.readouterr().out
        masks = sorted((tmp_path / "out").rglob("s*.png"))
        assert len(masks) == 3
        assert np.asarray(Image.open(masks[0])).shape == (64, 96)

    def test_a_format_that_there_is_not(self, own: str, tmp_path: Path, capsys: Captured) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["export", "--workspace", own, "--format", "gif", "--out", str(tmp_path / "out")])
        assert ended.value.code == 2
        assert "gif" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
