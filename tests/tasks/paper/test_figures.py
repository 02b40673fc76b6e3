"""The figures of a benchmark: colours where they belong."""

import io

import numpy as np
from PIL import Image

from tasks.paper.figures import DPI, SIDE, comparison_png, correspondence_png, heated
from tasks.report.contents import ComparedImage, Comparison, SeedFigure


def test_heat_has_the_colour_of_its_point() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    heats = np.full((3, 2, 2), -1, np.float32)
    assert (heated(picture, heats) == 80).all()  # what is below the mean stays as it is
    for number, strongest in enumerate((2, 0, 1)):  # blue, red, green
        one = heats.copy()
        one[number] = 1
        found = heated(picture, one)
        assert found.argmax(axis=2).tolist() == [[strongest] * 8] * 8


def test_correspondences_have_a_panel_for_each_image() -> None:
    picture, heats = np.full((8, 8, 3), 100, np.uint8), np.zeros((3, 2, 2), np.float32)
    for others in (0, 1, 3):
        seed = SeedFigure([(1.0, 1.0)] * 3, [(picture, heats)] * (1 + others), ["a"] * (1 + others))
        with Image.open(io.BytesIO(correspondence_png(seed))) as figure:
            assert figure.width == round(SIDE * DPI) * (2 + min(others, 1))


def test_a_comparison_has_the_columns_of_the_report() -> None:
    """A picture of one grey for each: image 40, label 80, PiCIE 120, STEGO 160."""
    image, *maps = (np.full((8, 8, 3), level, np.uint8) for level in (40, 80, 120, 160))
    columns = dict(zip(("label", "PiCIE", "STEGO"), maps, strict=True))
    shown = [ComparedImage(name, image, columns) for name in ("a", "b")]
    with Image.open(io.BytesIO(comparison_png(Comparison("val", [], shown)))) as figure:
        assert figure.width == 4 * round(SIDE * DPI)
        pixels = np.asarray(figure.convert("RGB"))
    for row in (0.4, 0.8):
        line = pixels[int(row * len(pixels)), :, 0]
        middles = [int((place + 0.5) * SIDE * DPI) for place in range(4)]
        assert line[middles].tolist() == [40, 80, 120, 160]
