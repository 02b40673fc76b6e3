"""Colours of classes."""

import numpy as np
import pytest

from stego_core.images.palette import coloured, overlay, palette


class TestPalette:
    def test_256_colours_differ_and_none_is_dark(self) -> None:
        colours = palette(256)
        assert (colours.shape, colours.dtype) == ((256, 3), np.uint8)
        assert len(np.unique(colours, axis=0)) == 256
        assert colours.max(axis=1).min() > 100

    def test_first_27_are_easily_told_apart(self) -> None:
        colours = palette(27).astype(int)
        distance = abs(colours[:, None] - colours[None]).sum(-1)
        assert distance[~np.eye(27, dtype=bool)].min() >= 40

    @pytest.mark.parametrize("classes", [0, 1, 12, 13])
    def test_a_colour_never_changes(self, classes: int) -> None:
        assert np.array_equal(palette(classes), palette(40)[:classes])


class TestColoured:
    def test_ids_take_their_colour_and_void_is_black(self) -> None:
        colours = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
        found = coloured(np.array([[0, 1, -1]], np.int16), colours)
        assert found.dtype == np.uint8
        assert found.tolist() == [[[1, 2, 3], [4, 5, 6], [0, 0, 0]]]

    def test_256_classes_in_a_byte(self) -> None:
        colours = palette(256)
        assert np.array_equal(coloured(np.array([[0, 255]], np.uint8), colours)[0, 1], colours[255])


class TestOverlay:
    def test_mixes_by_opacity_and_rounds(self) -> None:
        image, colours = (np.full((1, 2, 3), value, np.uint8) for value in (200, 101))
        assert overlay(image, colours, 0.25).tolist() == [[[175] * 3] * 2]  # 175.25
        assert overlay(image, colours).tolist() == [[[150] * 3] * 2]  # 150.5, to even

    def test_extremes_are_the_inputs(self, rng: np.random.Generator) -> None:
        image, colours = rng.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
        assert np.array_equal(overlay(image, colours, 0), image)
        assert np.array_equal(overlay(image, colours, 1), colours)
