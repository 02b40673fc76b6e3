"""The published protocol as options: what is set explicitly, what a person's flag changes."""

import pytest

from flows.runs.settings import RunOptions
from stego_core.paper.published_protocol import BENCHMARKS
from tasks.options import FeaturesOptions, HeadOptions, MasksOptions
from tasks.paper.protocol import EVERY, departures, published_options


def options(name: str, **sections: object) -> RunOptions:
    """Settled options of a run in which somebody gave some sections."""
    given = RunOptions(**sections)
    return given.model_copy(update=published_options(BENCHMARKS[name], dict(given)))


def told(name: str, resampling: str = "nearest", limit: int | None = None, **sections) -> list[str]:
    return departures(BENCHMARKS[name], dict(options(name, **sections)), resampling, limit)


class TestAsPublished:
    @pytest.mark.parametrize("name", BENCHMARKS)
    def test_what_holds_for_all(self, name: str) -> None:
        run = options(name)
        assert (run.features.crop_size, run.features.layer) == (224, None)
        assert run.features.max_training_images == EVERY
        assert run.neighbors.k == 30
        head = (run.head.steps, run.head.batch, run.head.grid, run.head.dropout)
        assert head == (5000, 16, 11, 0.1)
        assert run.head.learning_rate == 5e-4
        masks = (run.masks.resolution, run.masks.sharpness, run.masks.crf_iterations)
        assert masks == (320, 2.0, 10)
        assert run.scores.probe_protocol == "stego"
        assert run.clusters.classes == len(BENCHMARKS[name].classes)
        assert run.features.backbone.endswith("patch8_224.dino")

    def test_what_differs_between_them(self) -> None:
        found = {
            name: (run.features.crops, run.head.shifts, run.head.code_size, run.features.backbone)
            for name in BENCHMARKS
            if (run := options(name))
        }
        small, base = "vit_small_patch8_224.dino", "vit_base_patch8_224.dino"
        assert found == {
            "cocostuff27": ("five", "cocostuff27-s8", 70, small),
            "cocostuff15": ("whole", "auto", 70, small),
            "cocostuff3": ("whole", "auto", 70, small),
            "cityscapes27": ("five", "cityscapes27-b8", 100, base),
            "potsdam3": ("whole", "potsdam3-s8", 70, small),
        }

    def test_shifts_follow_the_backbone(self) -> None:
        given = FeaturesOptions(backbone="vit_base_patch8_224.dino")
        assert options("cocostuff27", features=given).head.shifts == "cocostuff27-b8"
        given = FeaturesOptions(backbone="vit_small_patch16_224.dino")
        assert options("cocostuff27", features=given).head.shifts == "auto"

    @pytest.mark.parametrize("name", ["cocostuff27", "cityscapes27", "potsdam3"])
    def test_nothing_departs_by_itself(self, name: str) -> None:
        assert told(name) == []

    def test_two_data_sets_have_no_published_shifts(self) -> None:
        for name in ("cocostuff15", "cocostuff3"):
            assert told(name) == ["no shifts are published for this data set and backbone"]


class TestDepartures:
    def test_flags_win_and_are_told(self) -> None:
        given = {"head": HeadOptions(steps=7, seed=3), "masks": MasksOptions(resolution=448)}
        run = options("potsdam3", **given)
        assert (run.head.steps, run.head.seed, run.head.batch) == (7, 3, 16)
        assert told("potsdam3", **given) == [
            "steps 7 (published: 5000)",
            "resolution 448 (published: 320)",
        ]

    def test_a_flag_with_the_published_value_is_no_departure(self) -> None:
        assert told("potsdam3", head=HeadOptions(steps=5000)) == []

    def test_trial_weights_resampling_and_draw(self) -> None:
        given = FeaturesOptions(weights="own.pth", max_training_images=100)
        assert told("potsdam3", "bilinear", 5, features=given) == [
            "a trial on the first 5 images of each split",
            "backbone vit_small_patch8_224.dino with weights own.pth (published: DINO ViT-S/8 "
            "and B/8)",
            "images resampled bilinear (published: nearest)",
            "features of at most 100 crops are kept",
        ]

    def test_other_weights_of_the_same_architecture(self) -> None:
        given = FeaturesOptions(backbone="vit_base_patch8_224.augreg_in21k")
        (said,) = told("cityscapes27", features=given)
        assert said.startswith("backbone vit_base_patch8_224.augreg_in21k")
