"""Sizes that fit no patch, and windows that would stand still, are refused by name."""

from typing import Any

import pytest

from stego_core.errors import OptionError
from tasks.options import MasksOptions, PretrainOptions


class TestPretrain:
    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            ({"global_size": 230}, "--global-size 230 .* patch of 14 pixels; use 224 or 238"),
            ({"local_size": 96}, "--local-size 96 .* patch of 14 pixels; use 84 or 98"),
            ({"local_size": 8}, "--local-size 8 .* use 14$"),
        ],
    )
    def test_views_of_no_whole_patches(self, sizes: dict[str, int], message: str) -> None:
        with pytest.raises(OptionError, match=message):
            PretrainOptions(**sizes).check(14)

    def test_whole_patches(self) -> None:
        PretrainOptions(global_size=224, local_size=98).check(14)

    def test_the_size_of_views_that_are_not_there(self) -> None:
        PretrainOptions(local_views=0).check(14)


class TestMasks:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"tile": 128}, "--tile 128 is not larger than --tile-overlap 160"),
            ({"crf_overlap": 1024}, "--crf-tile 1024 is not larger than --crf-overlap 1024"),
        ],
    )
    def test_windows_no_larger_than_their_overlap(
        self, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(OptionError, match=message):
            MasksOptions(**options)

    def test_windows_that_move_on(self) -> None:
        assert MasksOptions(tile=161).tile == 161


def test_masks_keys_from_before_smoothing_stay() -> None:
    before = {
        "resolution": 448,
        "tile": 640,
        "tile_overlap": 160,
        "sharpness": 1.0,
        "crf_iterations": 10,
        "crf_tile": 1024,
        "crf_overlap": 128,
        "overlays": True,
    }
    assert MasksOptions().model_dump(mode="json") == before
    assert MasksOptions(**before) == MasksOptions()
    smooth = MasksOptions(smooth_frames=2)
    assert smooth.model_dump(mode="json") == {**before, "smooth_frames": 2}
