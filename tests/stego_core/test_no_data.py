"""Pixels without data pull nobody, are drawn nowhere and have no class."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.clustering.kmeans import unit
from stego_core.clustering.silhouette import FEATURES
from stego_core.head.batches import TrainingSet, draw_batch, plain, step_generator
from stego_core.head.head import Head, MeanShiftHead
from stego_core.images.geometry import crops_with_data, training_crops
from stego_core.images.palette import coloured, overlay, palette
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.crf import Crf
from stego_core.masks.margins import MarginSums
from stego_core.masks.patch_codes import Windows, image_features
from stego_core.masks.segmenter import Segmenter
from stego_core.video.flicker import flicker
from tasks.clusters.code_sample import CODES, OBJECTS, samples_of
from tasks.images.image_codecs import decode_mask, encode_mask

HEIGHT, WIDTH = 48, 64
VIEW = Windows(resolution=48, tile=32, tile_overlap=8, refine_tile=32, refine_overlap=8)
VALID = np.ones((HEIGHT, WIDTH), np.bool_)
VALID[:20, :36] = False  # whole patches of 4 pixels
Picture = NDArray[np.uint8]


def pair(rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Two images that differ where there is no data."""
    one = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    other = one.copy()
    other[~VALID] = rng.integers(0, 256, (int((~VALID).sum()), 3))
    return one, other


class TestCrf:
    def test_what_stands_there_changes_nothing_elsewhere(self, rng: np.random.Generator) -> None:
        images = pair(rng)
        scores = np.log(rng.dirichlet(np.ones(5), (HEIGHT, WIDTH))).transpose(2, 0, 1)
        other = scores.copy()
        other[:, ~VALID] = rng.normal(size=(5, int((~VALID).sum())))
        crf = Crf(iterations=3)
        found = [
            crf.refine(unary.astype(np.float32), image, VALID)
            for unary, image in zip((scores, other), images, strict=True)
        ]
        np.testing.assert_array_equal(*found)
        np.testing.assert_allclose(found[0].sum(axis=0), 1, rtol=1e-4)
        np.testing.assert_allclose(found[0][:, ~VALID], 0.2)

    def test_a_column_of_data_is_refined_as_if_it_stood_alone(
        self, rng: np.random.Generator
    ) -> None:
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        scores = np.log(rng.dirichlet(np.ones(3), (HEIGHT, WIDTH))).transpose(2, 0, 1)
        scores = scores.astype(np.float32)
        there = np.zeros((HEIGHT, WIDTH), np.bool_)
        there[:, :24] = True
        crf = Crf(iterations=3)
        alone = crf.refine(np.ascontiguousarray(scores[..., :24]), image[:, :24])
        found = crf.refine(scores, image, there)[..., :24]
        np.testing.assert_allclose(found, alone, atol=1e-4)


@pytest.mark.parametrize("coarse", [None, 36])
@pytest.mark.parametrize("shifted", [False, True])
def test_classes_and_margins(
    local_backbone: Backbone, rng: np.random.Generator, shifted: bool, coarse: int | None
) -> None:
    """The same elsewhere, whatever stands where there is no data."""
    head = MeanShiftHead(nn.Identity()) if shifted else nn.Identity()
    view = replace(VIEW, coarse=coarse, tile=4096 if shifted else VIEW.tile)
    centroids = np.asarray(unit(rng.normal(size=(5, 3))), np.float32)
    segmenter = Segmenter(local_backbone, head, centroids, Crf(iterations=2), view)
    one, other = (segmenter(image, VALID) for image in pair(rng))
    assert (one[~VALID] == VOID_BYTE).all()
    assert one[VALID].max() < 5
    np.testing.assert_array_equal(one, other)


def test_features(local_backbone: Backbone, rng: np.random.Generator) -> None:
    image, _ = pair(rng)
    plain_ones = image_features(image, local_backbone, VIEW)
    found = image_features(image, local_backbone, VIEW, VALID)
    assert not found[:5, :9].any()
    np.testing.assert_array_equal(found[5:], plain_ones[5:])


@pytest.mark.parametrize("five", [True, False])
def test_crops(five: bool, rng: np.random.Generator) -> None:
    """A picture that is white where there is data: bright patches are those."""
    image = np.where(VALID, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
    crops = training_crops(image, 32, five)[..., 0].astype(float)
    bright = crops.reshape(len(crops), 8, 4, 8, 4).mean(axis=(2, 4)) / 255
    found = crops_with_data(VALID, 8, five)
    clear = np.abs(bright - 0.5) > 0.2
    np.testing.assert_array_equal(found[clear], bright[clear] > 0.5)
    assert clear.mean() > 0.8


def holed(rng: np.random.Generator, images: int) -> NDArray[np.float16]:
    patches = rng.normal(size=(images, 4, 4, 6)).astype(np.float16)
    patches[0, :2] = 0
    patches[1, :, :3] = 0
    return patches


def test_training_draws_nothing_there(rng: np.random.Generator) -> None:
    patches = holed(rng, 5)
    rows = np.arange(5)
    data = TrainingSet(lambda wanted: plain(patches[wanted]), rows, np.roll(rows, 1)[:, None])
    for step in range(20):
        batch = draw_batch(data, 4, 6, step_generator(0, step))
        assert (batch.tokens != 0).any(dim=1).all()


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("tokens", [3, 16])
def test_clustering_draws_nothing_there(
    rng: np.random.Generator, shifted: bool, tokens: int
) -> None:
    head: torch.nn.Module = Head.create(6, 4, torch.Generator().manual_seed(0))
    head = MeanShiftHead(head) if shifted else head
    patches = torch.from_numpy(holed(rng, 2)[1].astype(np.float32))
    with torch.inference_mode():
        holes = samples_of(head, patches, tokens, np.random.default_rng(0))
        alone = samples_of(head, patches[:, 3:], tokens, np.random.default_rng(0))
        none = samples_of(head, torch.zeros(4, 4, 6), tokens, np.random.default_rng(0))
    assert set(holes) == ({CODES, FEATURES, OBJECTS} if shifted else {CODES})
    for name, vectors in holes.items():
        np.testing.assert_allclose(vectors, alone[name], atol=1e-5)
        sampled = (np.abs(vectors).sum(axis=1) > 0).sum()
        assert sampled == (tokens if name == OBJECTS else min(tokens, 4))  # others: each once
        assert none[name].shape == (tokens, 6 if name == FEATURES else 4)
        assert not none[name].any()


def test_nothing_is_counted_there(rng: np.random.Generator) -> None:
    classes = rng.integers(0, 5, VALID.shape).astype(np.uint8)
    margins = rng.integers(0, 256, VALID.shape).astype(np.uint8)
    holes = np.where(VALID, classes, VOID_BYTE).astype(np.uint8)
    found, wanted = (
        MarginSums.of(holes, margins, 5).document(),
        MarginSums.of(classes[VALID], margins[VALID], 5).document(),
    )
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values)
    still = np.zeros((*VALID.shape, 3), np.uint8)
    pairs = flicker((still, still), (holes, np.full(VALID.shape, 9, np.uint8)))
    assert (pairs.still, pairs.changed) == (int(VALID.sum()), int(VALID.sum()))


def test_masks_hold_it_beside_few_classes(rng: np.random.Generator) -> None:
    """Pillow would pack ids of five colours into four bits."""
    ids = np.where(VALID, rng.integers(0, 5, VALID.shape), VOID_BYTE).astype(np.uint8)
    content = encode_mask(ids, palette(5))
    np.testing.assert_array_equal(decode_mask(content), ids)
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(seen, coloured(ids, palette(5)))
    assert not seen[~VALID].any()


def test_overlays_show_the_image_there(rng: np.random.Generator) -> None:
    image, _ = pair(rng)
    found = overlay(image, np.zeros_like(image), covered=VALID)
    np.testing.assert_array_equal(found[~VALID], image[~VALID])
    assert (found[VALID] <= image[VALID] / 2 + 0.5).all()
