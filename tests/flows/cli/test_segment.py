"""Loose images: names of their masks, and one that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.api import open_workspace
from flows.cli.segment import mask_names, segment_files
from stego_core.errors import InputError


class TestNames:
    def test_the_stem(self) -> None:
        assert mask_names(["x/a.jpg", "s3://b/c.tif"]) == {
            "x/a.jpg": "a.png", "s3://b/c.tif": "c.png",
        }  # fmt: skip

    def test_the_whole_name_where_stems_collide(self) -> None:
        assert set(mask_names(["a.jpg", "a.png", "b.png"]).values()) == {
            "a.jpg.png", "a.png.png", "b.png",
        }  # fmt: skip

    @pytest.mark.parametrize("images", [["x/a.jpg", "y/a.jpg"], ["a.jpg", "a.png", "x/a.png"]])
    def test_the_same_name_twice(self, images: list[str]) -> None:
        with pytest.raises(InputError, match="label them in two calls"):
            mask_names(images)


def test_what_cannot_be_read_is_told_last(
    own: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = made / "a" / "images" / "s001.png"
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"^1 of 2 images not labelled: .*broken\.png: "):
        segment_files(own, [str(tmp_path / "broken.png"), str(good)], str(out), "cpu")
    assert [path.name for path in out.iterdir()] == ["s001.png"]
    mask = np.asarray(Image.open(out / "s001.png"))
    np.testing.assert_array_equal(mask, open_workspace(own, "cpu").label(good))
    assert f"{good} → {out}/s001.png" in capsys.readouterr().err.replace("\n", "")
