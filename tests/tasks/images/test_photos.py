"""Numbers of files that Pillow reads: form, orientation, transparency, bands; and TIFFs' tags."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError
from stego_core.images.rendering import ORDINARY, Form
from tasks.images import photos

LIMIT = 1000
RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


class TestDecoded:
    def test_levels(self) -> None:
        form, values, valid = photos.decoded(saved(Image.fromarray(RGB)), LIMIT)
        assert (form, valid) == (ORDINARY, None)
        np.testing.assert_array_equal(values, RGB.transpose(2, 0, 1))

    @pytest.mark.parametrize("upright", [True, False])
    def test_orientation(self, upright: bool) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its left side
        content = saved(Image.fromarray(RGB), exif=exif)
        _, values, _ = photos.decoded(content, LIMIT, upright=upright)
        expected = np.rot90(RGB, -1) if upright else RGB
        np.testing.assert_array_equal(values.transpose(1, 2, 0), expected)

    def test_wholly_transparent_pixels_are_no_data(self) -> None:
        pixels = np.full((1, 3, 4), 100, np.uint8)
        pixels[0, :, 3] = 0, 51, 255
        _, values, valid = photos.decoded(saved(Image.fromarray(pixels)), LIMIT)
        assert valid is not None
        assert valid.tolist() == [[False, True, True]]
        assert values[0, 0, 1:].tolist() == [round(0.2 * 100 + 0.8 * 255), 100]

    @pytest.mark.parametrize(("kind", "shades"), [("PNG", [0, 300, 65535]), ("TIFF", [0, 1, 2])])
    def test_sixteen_bits(self, kind: str, shades: list[int]) -> None:
        content = saved(Image.fromarray(np.array([shades], np.uint16)), kind)
        form, values, valid = photos.decoded(content, LIMIT)
        assert (form, valid) == (Form("uint16", 16, 1, (1,)), None)
        assert values.tolist() == [[shades]]

    def test_floats_that_mean_no_data(self) -> None:
        shades = np.array([[-3.5, np.nan, np.inf, 3e38, 7]], np.float32)
        form, _, valid = photos.decoded(saved(Image.fromarray(shades), "TIFF"), LIMIT)
        assert form == Form("float32", 32, 1, (1,))
        assert valid is not None
        assert valid.tolist() == [[True, False, False, False, True]]

    def test_bands_in_any_order(self) -> None:
        form, values, _ = photos.decoded(saved(Image.fromarray(RGB)), LIMIT, (3, 1, 1))
        assert form == Form("uint8", 8, 3, (3, 1, 1))
        np.testing.assert_array_equal(values, RGB[..., [2, 0, 0]].transpose(2, 0, 1))

    @pytest.mark.parametrize(
        ("mode", "bands", "has"), [("RGB", (1, 4), "3 bands"), ("L", (2,), "1 band"),
                                   ("I;16", (2,), "1 band"), ("RGBA", (4,), "3 bands")],
    )  # fmt: skip
    def test_bands_that_are_not_there(self, mode: str, bands: tuple[int, ...], has: str) -> None:
        content = saved(Image.new(mode, (2, 2)))
        with pytest.raises(
            ImageError, match=rf"it has {has}; --bands {','.join(map(str, bands))} "
        ):
            photos.decoded(content, LIMIT, bands)


@pytest.mark.parametrize(
    ("content", "raster"),
    [
        (saved(Image.fromarray(RGB), "TIFF"), True),
        (saved(Image.fromarray(RGB), "JPEG2000"), True),
        (saved(Image.fromarray(RGB)), False),
        (saved(Image.fromarray(np.zeros((2, 2), np.uint16))), True),
        (saved(Image.fromarray(RGB), "JPEG"), False),
        (photos.PNG, False),
        (b"", False),
    ],
)
def test_what_gdal_looks_at(content: bytes, raster: bool) -> None:
    assert photos.is_raster(content) == raster


class TestTags:
    def test_of_the_first_directory(self) -> None:
        pages = [Image.new("L", (5, 4)), Image.new("L", (9, 9))]
        content = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        tags = photos.tiff_tags(content)
        assert (tags[256], tags[257], tags[258]) == (5, 4, (8,))

    @pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"MM\0+" * 4])
    def test_damaged(self, content: bytes) -> None:
        assert photos.tiff_tags(content) == {}

    @pytest.mark.parametrize(("stated", "means"), [(1, 1), (8, 8), (0, 1), (9, 1), ("x", 1)])
    def test_orientation(self, stated: Any, means: int) -> None:
        assert photos.tiff_orientation({0x0112: stated}) == means
        assert photos.tiff_orientation({}) == 1


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [([255, 255], None), ([0, 255], [[False, True]]), ([1, 0], [[True, False]])],
)
def test_opaque(alpha: list[int], expected: Any) -> None:
    pixels: NDArray[np.uint8] = np.zeros((1, 2, 4), np.uint8)
    pixels[0, :, 3] = alpha
    mask = photos.opaque(Image.fromarray(pixels))
    assert (mask if mask is None else mask.tolist()) == expected
    assert photos.opaque(Image.new("RGB", (1, 2))) is None
