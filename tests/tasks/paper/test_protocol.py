"""The published protocol as options: what is set explicitly, what a person's flag changes."""

import pytest
from pydantic import ValidationError

from flows.runs.settings import RunOptions
from stego_core.paper.published_protocol import BENCHMARKS
from tasks.options import FeaturesOptions, HeadOptions, MasksOptions
from tasks.paper.protocol import EVALUATION, EVERY, departures, published_options

LATER = (
    "weights dino_deitsmall8_pretrain.pth (released code: dino_deitsmall8_300ep_pretrain.pth; give "
    "that file with --weights)"
)


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
        assert (run.neighbors.k, run.neighbors.search) == (30, "exact")
        assert run.features.precision == "float32"
        head = (run.head.steps, run.head.batch, run.head.grid, run.head.dropout)
        assert head == (5000, 16, 11, 0.1)
        assert run.head.learning_rate == 5e-4
        masks = (run.masks.resolution, run.masks.sharpness, run.masks.crf_iterations)
        assert masks == (320, 2.0, 10)
        assert run.masks.crf_pixels == "released"
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

    def test_nothing_departs_by_itself(self) -> None:
        assert told("cityscapes27") == []

    @pytest.mark.parametrize("name", ["cocostuff27", "potsdam3"])
    def test_timm_s_weights_of_the_small_one_are_other_ones(self, name: str) -> None:
        assert told(name) == [LATER]

    def test_two_data_sets_have_no_published_shifts(self) -> None:
        for name in ("cocostuff15", "cocostuff3"):
            expected = [LATER, "no shifts are published for this data set and backbone"]
            assert told(name) == expected

    @pytest.mark.parametrize("name", ["vit_small_patch8_224", "vit_small_patch8_224.dino"])
    def test_dino_s_own_file_is_the_published_one(self, name: str) -> None:
        weights = "s3://models/dino_deitsmall8_300ep_pretrain.pth"
        assert told("potsdam3", features=FeaturesOptions(backbone=name, weights=weights)) == []
        later = FeaturesOptions(backbone=name, weights="dino_deitsmall8_pretrain.pth")
        assert told("potsdam3", features=later) == [LATER]
        given = FeaturesOptions(backbone=name, weights="dino_vitbase8_pretrain.pth")
        assert told("potsdam3", features=given)[0].startswith(f"backbone {name} with weights")

    def test_dino_s_own_names(self) -> None:
        assert FeaturesOptions(backbone="dino_vits8").backbone == "vit_small_patch8_224.dino"
        assert told("cityscapes27", features=FeaturesOptions(backbone="dino_vitb8")) == []

    def test_an_untagged_name_needs_the_file(self) -> None:
        given = FeaturesOptions(backbone="vit_base_patch8_224")
        assert told("cityscapes27", features=given)[0].startswith("backbone vit_base_patch8_224")

    def test_a_released_model_departs_by_its_evaluation_alone(self) -> None:
        run = options("potsdam3", head=HeadOptions(steps=7), masks=MasksOptions(crf_iterations=0))
        said = departures(BENCHMARKS["potsdam3"], dict(run), "nearest", None, EVALUATION)
        assert said == ["crf iterations 0 (published: 10)"]


class TestDepartures:
    def test_numbers_are_checked_again(self) -> None:
        given = HeadOptions.model_construct(_fields_set={"steps"}, steps=-1)
        with pytest.raises(ValidationError):
            options("potsdam3", head=given)

    def test_flags_win_and_are_told(self) -> None:
        given = {"head": HeadOptions(steps=7, seed=3), "masks": MasksOptions(resolution=448)}
        run = options("potsdam3", **given)
        assert (run.head.steps, run.head.seed, run.head.batch) == (7, 3, 16)
        assert told("potsdam3", **given) == [
            LATER,
            "steps 7 (published: 5000)",
            "resolution 448 (published: 320)",
        ]

    def test_a_flag_with_the_published_value_is_no_departure(self) -> None:
        assert told("potsdam3", head=HeadOptions(steps=5000)) == [LATER]

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
