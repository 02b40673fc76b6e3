"""Mean shift of an image's patches: against loops, and what it does to things and borders."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from stego_core.head.head import Head, MeanShiftHead
from stego_core.head.mean_shift import DENSITY_SHARPNESS, mean_shift, sampling_weights


def slow(image: list[list[float]], sharpness: float, iterations: int) -> list[list[float]]:
    """Patch by patch, in plain Python."""
    fixed = [unit(patch) for patch in image]
    moved = fixed
    for _ in range(iterations):
        after = []
        for patch in moved:
            weights = [math.exp(sharpness * dot(patch, other)) for other in fixed]
            total = [
                sum(w * other[c] for w, other in zip(weights, fixed, strict=True))
                for c in range(len(patch))
            ]
            after.append(unit(total))
        moved = after
    return moved


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(vector: list[float]) -> list[float]:
    norm = math.sqrt(dot(vector, vector))
    return [value / norm for value in vector]


@pytest.mark.parametrize(("sharpness", "iterations"), [(20.0, 3), (2.0, 1), (5.0, 0)])
def test_equals_the_loop(sharpness: float, iterations: int) -> None:
    features = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    found = mean_shift(features, sharpness, iterations)
    assert found.shape == features.shape
    for image, expected in zip(found, features, strict=True):
        wanted = slow(expected.reshape(6, 4).tolist(), sharpness, iterations)
        torch.testing.assert_close(image.reshape(6, 4), torch.tensor(wanted))


def test_patches_of_a_thing_meet_and_things_stay_apart() -> None:
    generator = torch.Generator().manual_seed(1)
    kinds = torch.arange(60) % 2
    features = torch.eye(8)[kinds] + 0.12 * torch.randn(60, 8, generator=generator)
    before, (after,) = normalize(features, dim=-1), mean_shift(features[None])

    def within(tokens: torch.Tensor) -> float:
        return float((tokens[kinds == 0] @ tokens[kinds == 0].T).min())

    assert within(after) > 0.99 > within(before)
    assert float((after[kinds == 0] @ after[kinds == 1].T).max()) < 0.2


def test_images_do_not_see_each_other() -> None:
    features = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2))
    together = mean_shift(features)
    for number in range(3):
        torch.testing.assert_close(together[number : number + 1], mean_shift(features[[number]]))


def test_scale_is_irrelevant_and_a_zero_patch_stays_finite() -> None:
    features = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(mean_shift(features), mean_shift(1000 * features))
    features[0, 2] = 0
    assert torch.isfinite(mean_shift(features)).all()


def test_weights_equal_the_loop() -> None:
    shifted = normalize(torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(5)), dim=-1)
    found = sampling_weights(shifted, 0.7)
    assert found.shape == (2, 3, 2)
    for weights, image in zip(found, shifted, strict=True):
        patches = image.reshape(6, 4).tolist()
        counts = [
            sum(math.exp(DENSITY_SHARPNESS * (dot(one, other) - 1)) for other in patches)
            for one in patches
        ]
        wanted = torch.tensor([count**-0.7 for count in counts])
        torch.testing.assert_close(weights.flatten(), wanted)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("patches", [1, 4, 25])
def test_the_power_tells_what_a_thing_weighs(patches: int, power: float) -> None:
    image = torch.eye(2)[(torch.arange(patches + 7) < patches).long()]
    weights = sampling_weights(image[None], power)[0]
    assert float(weights[:patches].sum()) == pytest.approx(patches ** (1 - power), rel=2e-3)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_patches_of_zeros_hold_no_data_and_are_not_drawn(power: float) -> None:
    generator = torch.Generator().manual_seed(8)
    there = normalize(torch.randn(1, 9, 4, generator=generator), dim=-1)
    weights = sampling_weights(torch.cat([torch.zeros(1, 40, 4), there], dim=1), power)[0]
    assert not weights[:40].any()
    torch.testing.assert_close(weights[40:], sampling_weights(there, power)[0])


def test_patches_of_zeros_draw_nobody_and_stay_zero() -> None:
    there = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(9))
    features = torch.cat([there, torch.zeros(2, 30, 5)], dim=1)
    moved = mean_shift(features)
    assert not moved[:, 7:].any()
    torch.testing.assert_close(moved[:, :7], mean_shift(there))


def test_the_head_around_reads_shifted_features() -> None:
    generator = torch.Generator().manual_seed(4)
    head = Head.create(4, 3, generator)
    features = torch.randn(2, 3, 3, 4, generator=generator)
    torch.testing.assert_close(MeanShiftHead(head)(features), head(mean_shift(features)))
