"""STEGO's own order of computing, in float64 maps (B, C, H, W), beside ours on the same numbers.

Features and codes are whole maps that are sampled by coordinates in [-1, 1]² and compared five
axes at a time (Hamilton et al. 2022, section 3, and the released code's `DinoFeaturizer`,
`ContrastiveCorrelationLoss`, `ClusterLookup`, `precompute_knns.py`). Ours samples patches first.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import normalize

from stego_core.backbone.vit import pooled
from stego_core.clustering.kmeans import unit
from stego_core.errors import InputError
from stego_core.head.batches import HeadBatch
from stego_core.head.correspondence import batch_shifted_correspondences, batch_terms
from stego_core.head.head import Head, channels_kept
from stego_core.head.shift_presets import PRESETS, LossShifts
from stego_core.head.training import parallel_head
from stego_core.images.geometry import Window
from stego_core.images.upsampling import scores_at
from stego_core.masks.crf import Crf
from stego_core.masks.patch_codes import Windows
from stego_core.masks.segmenter import refined, scorer
from stego_core.paper.published_protocol import BENCHMARKS
from stego_core.scores.linear_probe import Probe, log_probabilities
from stego_core.search.neighbor_table import Neighbors

IMAGES, CHANNELS, DEPTH, SIDE, GRID, DRAWS = 3, 6, 4, 5, 3, 2


class Settings(NamedTuple):
    """Switches of the released loss, as its configuration ships them."""

    pointwise: bool = True
    zero_clamp: bool = True
    stabalize: bool = False


SHIPPED = Settings()


def convolved(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1×1 convolution."""
    return torch.einsum("bchw,dc->bdhw", maps, weight) + bias[:, None, None]


def original_codes(head: Head, maps: Tensor, kept: list[Tensor] | None) -> Tensor:
    """Codes (B, D, H, W) of maps (B, C, H, W); `kept` (B, C) are the factors of both dropouts."""
    first, second = (maps, maps) if kept is None else (maps * k[..., None, None] for k in kept)
    linear, hidden, nonlinear = (
        (m.weight, m.bias) for m in (head.linear, head.hidden, head.nonlinear)
    )
    return convolved(first, *linear) + convolved(
        convolved(second, *hidden).clamp(min=0), *nonlinear
    )


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """(B, C, GRID, GRID) of maps at coordinates (x, y), corner to corner of the outer patches."""
    return functional.grid_sample(maps, places, padding_mode="border", align_corners=True)


def compared(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (B, H, W, I, J) of every place of one with every place of the other."""
    one, other = (each / each.norm(dim=1, keepdim=True).clamp(min=1e-10) for each in (one, other))
    return (one[:, :, :, :, None, None] * other[:, :, None, None]).sum(dim=1)


def original_loss(
    features: list[Tensor], codes: list[Tensor], shift: float, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Loss and code correspondence of every pair of places of two maps each."""
    f, s = compared(*features), compared(*codes)
    if settings.pointwise:
        before = f.mean()
        f = f - f.mean(dim=(3, 4), keepdim=True)
        f = f - f.mean() + before
    least = 0.0 if settings.zero_clamp else -9999.0
    most = 0.8 if settings.stabalize else None
    return -s.clamp(least, most) * (f - shift), s


class Step(NamedTuple):
    """A step's maps of anchors and positives, where they are sampled, and who is paired."""

    anchors: Tensor
    positives: Tensor
    rows: Tensor
    columns: Tensor
    partners: Tensor

    def coordinates(self, number: int) -> Tensor:
        """Set 1 or 2 (0, 1) of places at the centres of patches, (B, GRID, GRID, 2)."""
        x, y = (2 * at[number] / (SIDE - 1) - 1 for at in (self.columns, self.rows))
        return torch.stack([x, y], dim=-1).double()

    def batch(self) -> HeadBatch:
        """The same as ours has it: all patches as tokens, and which of them are sampled."""
        tokens = torch.cat([self.anchors, self.positives]).permute(0, 2, 3, 1).reshape(-1, CHANNELS)
        first, second = (self.rows * SIDE + self.columns).reshape(2, IMAGES, -1)
        own = torch.arange(IMAGES)[:, None] * SIDE**2
        positions = torch.stack([own + first, own + IMAGES * SIDE**2 + second, own + second])
        images = torch.arange(2 * IMAGES).repeat_interleave(SIDE**2)
        return HeadBatch(tokens, images, positions, self.partners)


@pytest.fixture
def step(rng: np.random.Generator) -> Step:
    maps = (torch.from_numpy(rng.normal(size=(IMAGES, CHANNELS, SIDE, SIDE))) for _ in range(2))
    places = torch.from_numpy(rng.integers(0, SIDE, (2, 2, IMAGES, GRID, GRID)))
    return Step(*maps, *places, torch.tensor([[1, 2, 0], [2, 0, 1]]))


@pytest.fixture
def head() -> Head:
    return Head.create(CHANNELS, DEPTH, torch.Generator().manual_seed(0)).double()


def original_terms(
    step: Step, head: Head, kept: list[Tensor] | None, shifts: tuple[float, ...], settings: Settings
) -> tuple[list[Tensor], list[Tensor]]:
    """Losses of self, knn and random pairs, and means of S.

    A random partner is sampled at its own second places, as ours does it; the released code takes
    those of its anchor, which are drawn alike.
    """
    parts = None if kept is None else [[k[:IMAGES] for k in kept], [k[IMAGES:] for k in kept]]
    codes = original_codes(head, step.anchors, parts and parts[0])
    codes_pos = original_codes(head, step.positives, parts and parts[1])
    one, two = (step.coordinates(number) for number in (0, 1))
    f, c = sampled(step.anchors, one), sampled(codes, one)
    pairs = [(f, c, shifts[0]), (sampled(step.positives, two), sampled(codes_pos, two), shifts[1])]
    pairs += [
        (sampled(step.anchors, two)[order], sampled(codes, two)[order], shifts[2])
        for order in step.partners
    ]
    found = [original_loss([f, g], [c, d], shift, settings) for g, d, shift in pairs]
    random = [torch.cat(parts) for parts in zip(*found[2:], strict=True)]
    terms = [*found[:2], random]
    return [loss.mean() for loss, _ in terms], [s.mean() for _, s in terms]


def total(losses: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True))


@pytest.mark.parametrize("dropout", [None, 0.3])
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
class TestLoss:
    """Every term and every gradient, with the shifts, weights and switches that were released.

    All configurations ship with `pointwise`, which the Cityscapes model was trained without.
    """

    def kept(self, dropout: float | None) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        size = 2 * IMAGES, CHANNELS
        return [channels_kept(*size, dropout or 0.0, generator).double() for _ in range(2)]

    @pytest.mark.parametrize("settings", [SHIPPED, Settings(pointwise=False)])
    def test_terms_and_gradients(
        self,
        step: Step,
        head: Head,
        preset: LossShifts,
        dropout: float | None,
        settings: Settings,
    ) -> None:
        assert preset.shifts is not None
        kept, batch = self.kept(dropout), step.batch()
        features = batch.compared(normalize(batch.tokens, dim=-1))
        codes, backward = parallel_head(head, batch, kept, map)
        shifted = batch_shifted_correspondences(features, preset.shifts, settings.pointwise)
        losses, means = batch_terms(batch.compared(normalize(codes, dim=-1)), shifted)
        backward(*torch.autograd.grad(total(losses, preset.weights), codes))
        ours = [parameter.grad.clone() for parameter in head.parameters()]

        given = None if dropout is None else kept
        expected, expected_means = original_terms(step, head, given, preset.shifts, settings)
        gradients = torch.autograd.grad(total(expected, preset.weights), list(head.parameters()))
        for found, slow in zip([*losses, *means], [*expected, *expected_means], strict=True):
            assert found.item() == pytest.approx(slow.item(), abs=1e-12)
        for found, slow in zip(ours, gradients, strict=True):
            assert slow.abs().max() > 1e-4
            torch.testing.assert_close(found, slow, atol=1e-12, rtol=0)

    @pytest.mark.parametrize(
        "other", [Settings(pointwise=False), Settings(zero_clamp=False), Settings(stabalize=True)]
    )
    def test_the_other_switches_make_another_loss(
        self, step: Step, head: Head, preset: LossShifts, dropout: float | None, other: Settings
    ) -> None:
        """So that the equality above tells which of them the numbers were made with."""
        assert preset.shifts is not None
        shipped, changed = (
            original_terms(step, head, self.kept(dropout), preset.shifts, settings)[0]
            for settings in (SHIPPED, other)
        )
        differs = [abs(a - b).item() > 1e-3 for a, b in zip(shipped, changed, strict=True)]
        assert differs[0]  # of the self pairs, whose S reach 1 and whose F are farthest from 0


class TestProbes:
    """Codes are interpolated to the label's size, then classified."""

    SIZE = (40, 56)

    @pytest.fixture
    def codes(self, rng: np.random.Generator) -> NDArray[np.float32]:
        return rng.normal(size=(5, 7, DEPTH)).astype(np.float32)

    def full(self, codes: NDArray[np.float32]) -> Tensor:
        """(1, D, H, W) in float64."""
        maps = torch.from_numpy(codes).double().permute(2, 0, 1)[None]
        return functional.interpolate(maps, self.SIZE, mode="bilinear", align_corners=False)

    def test_cluster_probabilities_and_classes(
        self, codes: NDArray[np.float32], rng: np.random.Generator
    ) -> None:
        clusters = torch.from_numpy(rng.normal(size=(6, DEPTH)))
        cosines = functional.conv2d(
            normalize(self.full(codes), dim=1), normalize(clusters, dim=1)[..., None, None]
        )[0]
        expected = (2 * cosines).softmax(dim=0).numpy()
        score = scorer(np.asarray(unit(clusters.numpy()), np.float32), Crf())
        found = softmax(score(codes, self.SIZE, Window(0, 0, *self.SIZE)), axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        image = np.zeros((*self.SIZE, 3), np.uint8)
        classes = refined(codes, image, score, Crf(iterations=0), Windows()).classes
        self.assert_equal_where_clear(classes, expected)

    def test_linear_probabilities_and_classes(
        self, codes: NDArray[np.float32], rng: np.random.Generator
    ) -> None:
        weight, bias = rng.normal(size=(6, DEPTH)), rng.normal(size=6)
        expected = convolved(self.full(codes), *map(torch.from_numpy, (weight, bias)))
        probe = Probe(weight.astype(np.float32), bias.astype(np.float32))
        logits = scores_at(probe.logits, codes, self.SIZE, Window(0, 0, *self.SIZE))
        unary = log_probabilities(logits.transpose(1, 2, 0)).transpose(2, 0, 1)
        slow = expected[0].softmax(dim=0).numpy()
        np.testing.assert_allclose(np.exp(unary), slow.clip(1e-5), atol=2e-6)
        self.assert_equal_where_clear(logits.argmax(axis=0), slow)

    def assert_equal_where_clear(
        self, classes: NDArray[np.integer], expected: NDArray[np.float64]
    ) -> None:
        second, first = np.sort(expected, axis=0)[-2:]
        clear = first - second > 1e-6  # elsewhere rounding decides
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(classes[clear], expected.argmax(axis=0)[clear])


class TestNeighbors:
    """Rows of the largest products of normalised means, the row itself first."""

    def test_equal_the_published_lists(self, rng: np.random.Generator) -> None:
        patches = rng.normal(size=(60, 4, 4, 24)).astype(np.float16)
        maps = torch.from_numpy(patches).double().permute(0, 3, 1, 2)
        vectors = normalize(maps.mean(dim=(2, 3)), dim=1)
        expected = torch.einsum("nf,mf->nm", vectors, vectors).topk(30)[1].numpy()
        own = np.arange(60)
        table = Neighbors.create(60, 30).with_rows(pooled(patches), pooled(patches), own)
        np.testing.assert_array_equal(table.self_first(own).ids, expected)

    def test_equal_images_have_equal_lists_but_for_themselves(
        self, rng: np.random.Generator
    ) -> None:
        """Where cosines are equal, the released order is torch's; ours rises after the own row."""
        patches = rng.normal(size=(8, 2, 2, 6)).astype(np.float16)
        patches[[4, 6]] = patches[1]
        own = np.arange(8)
        table = Neighbors.create(8, 4).with_rows(pooled(patches), pooled(patches), own)
        ids = table.self_first(own).ids
        assert ids[[1, 4, 6], :3].tolist() == [[1, 4, 6], [4, 1, 6], [6, 1, 4]]
        assert len(set(ids[[1, 4, 6], 3])) == 1


COCO = {
    0: range(71, 77), 1: range(77, 83), 2: range(51, 61), 3: range(61, 71), 4: range(83, 91),
    5: range(43, 51), 6: range(25, 33), 7: range(15, 25), 8: range(9, 15), 9: [0],
    10: range(33, 43), 11: range(1, 9), 12: [101, 102], 13: [100, *range(113, 118)],
    14: [120, 121, 152, 169], 15: [97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164],
    16: [99, 131, 138, 142], 17: [91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167],
    18: range(170, 177), 19: [179, 180], 20: [94, 95, 127, 150, 157, 165],
    21: [110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158],
    22: [93, 96, 118, 123, 128, 133, 141, 162, 168], 23: [105, 156],
    24: [126, 134, 149, 159, 161, 181], 25: [98, 112, 137, 145, 163],
    26: [119, 147, 154, 177, 178],
}  # fmt: skip
"""COCO-Stuff's fine ids of each of the 27 classes."""
OF_FINE = {fine: coarse for coarse, ids in COCO.items() for fine in ids}


def coarse_of(name: str) -> dict[int, int]:
    """The released class, −1 for void, of each raw id that the data set has."""
    if name == "potsdam3":
        return {0: 0, 4: 0, 1: 1, 5: 1, 2: 2, 3: 2, 255: -1}
    if name == "cityscapes27":
        return {raw: max(raw - 7, -1) for raw in range(34)} | {255: -1}
    if name == "cocostuff15":  # those of things become negative, which is void
        kept = {raw: max(coarse - 12, -1) for raw, coarse in OF_FINE.items()}
    elif name == "cocostuff3":
        order = [23, 22, 21]
        kept = {raw: order.index(c) if c in order else -1 for raw, c in OF_FINE.items()}
    else:
        kept = OF_FINE
    return kept | {255: -1}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_label_maps_of_all_raw_ids(name: str) -> None:
    """Of 0 to 255; ids that the data set does not have are refused, and none is taken for another.

    The released loaders take those for class 0, or of Cityscapes for classes beyond the last.
    """
    expected, taxonomy = coarse_of(name), BENCHMARKS[name].stored
    assert sorted(OF_FINE) == list(range(182))
    for raw in range(256):
        stored = np.array([[raw]], np.uint8)
        if raw in expected:
            assert taxonomy.apply(stored).tolist() == [[expected[raw]]], raw
        else:
            with pytest.raises(InputError, match=rf"label values \[{raw}\] are outside"):
                taxonomy.apply(stored)
