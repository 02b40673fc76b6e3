"""Sizes that fit no patch, and windows that would stand still, are refused by name."""

from typing import Any

import pytest

from stego_core.errors import CapacityError, OptionError
from tasks import options
from tasks.features.enough_images import require_enough
from tasks.options import (
    ClustersOptions,
    FeaturesOptions,
    HeadOptions,
    MasksOptions,
    NeighborsOptions,
    PretrainOptions,
    ScoresOptions,
)


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
            ({"tile": 64}, "--tile 64 is not larger than --tile-overlap 64"),
            ({"crf_overlap": 1024}, "--crf-tile 1024 is not larger than --crf-overlap 1024"),
        ],
    )
    def test_windows_no_larger_than_their_overlap(
        self, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(OptionError, match=message):
            MasksOptions(**options)

    def test_windows_that_move_on(self) -> None:
        assert MasksOptions(tile=65).tile == 65


def test_masks_keys_from_before_an_option_stay() -> None:
    before = {
        "resolution": 448,
        "tile": 256,
        "tile_overlap": 64,
        "sharpness": None,
        "crf_iterations": 10,
        "crf_tile": 1024,
        "crf_overlap": 128,
        "overlays": True,
    }
    assert MasksOptions().model_dump(mode="json") == before
    assert MasksOptions(**before) == MasksOptions()
    smooth = MasksOptions(smooth_frames=2)
    assert smooth.model_dump(mode="json") == {**before, "smooth_frames": 2}
    other = MasksOptions(crf_engine="pydensecrf")
    assert other.model_dump(mode="json") == {**before, "crf_engine": "pydensecrf"}


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (HeadOptions, {"shifts": "tokyo"}, "tokyo"),
        (HeadOptions, {"shifts": "1,2"}, "expected three"),
        (HeadOptions, {"shifts": "nan,1,2"}, "finite"),
        (HeadOptions, {"loss_weights": "1,2"}, "2 weights were given"),
        (HeadOptions, {"loss_weights": "1,-2,3"}, "numbers of at least 0"),
        (HeadOptions, {"loss_weights": "equal"}, "numbers of at least 0"),
        (ScoresOptions, {"seeds": "0,x"}, "--seeds '0,x'"),
        (PretrainOptions, {"window": "1"}, "--window '1' is not two numbers"),
        (PretrainOptions, {"local_scale": "0.4,0.1"}, "--local-scale 0.4,0.1"),
        (PretrainOptions, {"weight_decay": "0,inf"}, "--weight-decay"),
    ],
)
def test_options_that_are_text_are_read_at_once(
    model: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        model(**options)


class TestEnough:
    def check(self, images: int, k: int = 30, **more: Any) -> list[str]:
        features = FeaturesOptions(crops=more.get("crops", "five"))
        clusters = ClustersOptions(classes=more.get("classes", 16))
        return require_enough(images, features, NeighborsOptions(k=k), clusters)

    def test_as_many_images_as_neighbours(self) -> None:
        assert self.check(31) == self.check(30) == []

    def test_both_numbers_are_told_together(self) -> None:
        expected = (
            "20 usable images are fewer than the 30 neighbours .* --neighbors 20 at most; "
            "100 usable feature rows are fewer than the 200 classes.*--classes 100 at most"
        )
        with pytest.raises(CapacityError, match=expected):
            self.check(20, classes=200)

    def test_more_classes_than_images_are_told(self) -> None:
        assert "100 classes are asked of 20 images" in self.check(20, k=20, classes=100)[0]

    def test_auto_takes_what_there_is(self) -> None:
        assert "32 classes are asked of 20 images" in self.check(20, k=20, classes="auto")[0]
        assert "15 classes are asked of 3 images" in self.check(3, k=5, classes="auto")[0]

    def test_one_image_has_its_own_crops(self) -> None:
        self.check(1, k=5, classes=4)
        with pytest.raises(CapacityError, match="--neighbors 5 at most"):
            self.check(1, k=6, classes=4)
        with pytest.raises(CapacityError, match="--crops five"):
            self.check(1, k=2, crops="whole", classes=2)


def test_every_description_is_a_sentence() -> None:
    models = [each for each in vars(options).values() if isinstance(each, type)]
    fields = [f for m in models if issubclass(m, options.Options) for f in m.model_fields.items()]
    assert len(fields) > 100
    for name, field in fields:
        said = field.description or ""
        assert said.endswith("."), name
        assert said[:1].isupper() or said.startswith("k-means"), name
        assert len(said.split()) > 4, name
