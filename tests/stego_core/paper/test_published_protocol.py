"""Facts of the paper's data sets: label values, classes, what is published for them."""

import numpy as np
import pytest

from stego_core.errors import InputError, OptionError
from stego_core.head.shift_presets import PRESETS, Triple
from stego_core.paper.published_protocol import (
    BENCHMARKS,
    COARSE,
    COARSE_NAMES,
    VIT_B8,
    VIT_S8,
    named,
)


def names(benchmark: str, stored: list[int]) -> list[str]:
    """Class names of stored label values; void is an empty name."""
    taxonomy = BENCHMARKS[benchmark].stored
    ids = taxonomy.apply(np.array([stored]))[0]
    return [taxonomy.classes[cls] if cls >= 0 else "" for cls in ids]


class TestCocoStuff:
    def test_every_fine_id_has_a_class_and_every_class_an_id(self) -> None:
        assert len(COARSE) == 182
        assert set(COARSE) == set(range(len(COARSE_NAMES))) == set(range(27))

    def test_things_and_stuff_do_not_mix(self) -> None:
        assert set(COARSE[:91]) == set(range(12))
        assert set(COARSE[91:]) == set(range(12, 27))

    def test_known_ids(self) -> None:
        # person, bicycle, boat, traffic light, cat, zebra, backpack, sports ball, banana, chair,
        # bed, tv, oven, book; branch, building, grass, sea, road, sky-other, wall-brick, wood
        stored = [0, 1, 8, 9, 16, 23, 26, 36, 51, 61, 64, 71, 78, 83]
        assert names("cocostuff27", stored) == [
            "person", "vehicle", "vehicle", "outdoor", "animal", "animal", "accessory", "sports",
            "food", "furniture", "furniture", "electronic", "appliance", "indoor",
        ]  # fmt: skip
        stored = [93, 95, 123, 154, 148, 156, 170, 181, 255]
        assert names("cocostuff27", stored) == [
            "plant", "building", "plant", "water", "ground", "sky", "wall", "solid", "",
        ]  # fmt: skip

    def test_fifteen_are_the_stuff_and_things_are_void(self) -> None:
        assert BENCHMARKS["cocostuff15"].classes == COARSE_NAMES[12:]
        assert names("cocostuff15", [0, 90, 101, 156, 255]) == ["", "", "ceiling", "sky", ""]

    def test_three_are_sky_plants_ground(self) -> None:
        assert BENCHMARKS["cocostuff3"].classes == ("sky", "plant", "ground")
        assert names("cocostuff3", [156, 123, 148, 95, 0]) == ["sky", "plant", "ground", "", ""]

    @pytest.mark.parametrize("name", ["cocostuff27", "cocostuff15", "cocostuff3"])
    def test_ids_beyond_are_refused(self, name: str) -> None:
        with pytest.raises(InputError, match=r"\[182\] are outside"):
            names(name, [182])


class TestCityscapes:
    def test_ids_begin_at_seven(self) -> None:
        stored = [0, 6, 7, 11, 23, 26, 33, 255]
        expected = ["", "", "road", "building", "sky", "car", "bicycle", ""]
        assert names("cityscapes27", stored) == expected

    def test_ids_beyond_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"\[34\] are outside"):
            names("cityscapes27", [34])


def test_potsdam_pairs_six_classes() -> None:
    roads, buildings, plants = BENCHMARKS["potsdam3"].classes
    found = names("potsdam3", [0, 1, 2, 3, 4, 5, 255])
    assert found == [roads, buildings, plants, plants, roads, buildings, ""]


class TestPublished:
    def test_counts_of_classes(self) -> None:
        assert {name: len(each.classes) for name, each in BENCHMARKS.items()} == {
            "cocostuff27": 27, "cocostuff15": 15, "cocostuff3": 3, "cityscapes27": 27,
            "potsdam3": 3,
        }  # fmt: skip

    def test_shifts_are_those_of_the_data_set_and_backbone(self) -> None:
        expected = {
            ("cocostuff27", VIT_S8): Triple(0.08, 0.02, 0.66),
            ("cocostuff27", VIT_B8): Triple(0.12, 0.20, 1.00),
            ("cityscapes27", VIT_B8): Triple(
                0.45828472207, 0.1754346515479633, 0.31361241889448443
            ),
            ("potsdam3", VIT_S8): Triple(0.08, 0.02, 0.46),
        }
        found = {
            (name, backbone): PRESETS[preset].shifts
            for name, each in BENCHMARKS.items()
            for backbone, preset in each.shifts.items()
        }
        assert found == expected

    def test_released_loaders_crop_two_data_sets(self) -> None:
        cropped = [name for name, each in BENCHMARKS.items() if each.five_crops]
        assert cropped == ["cocostuff27", "cityscapes27"]

    def test_unknown_names_list_the_known(self) -> None:
        with pytest.raises(OptionError, match=r"expected cocostuff27, .*potsdam3"):
            named("coco")
