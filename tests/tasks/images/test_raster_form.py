"""What a raster file's metadata say of its numbers: bands, bits, transparency, ranges, units."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, MemoryFile
from rasterio.transform import Affine

from stego_core.errors import ImageError
from stego_core.images.rendering import ORDINARY, Form
from tasks.images.raster_form import RasterForm

Made = Callable[..., RasterForm]


@pytest.fixture
def made() -> Iterator[Made]:
    with ExitStack() as stack:

        def make(
            count: int = 1,
            dtype: str = "uint8",
            after: Callable[[Any], object] = lambda file: None,
            tags: dict[int, Any] | None = None,
            bands: tuple[int, ...] | None = None,
            **options: Any,
        ) -> RasterForm:
            memory = stack.enter_context(MemoryFile())
            shape = {"count": count, "height": 2, "width": 3, "dtype": dtype}
            options = {"transform": Affine.scale(2), **options}
            with memory.open(driver="GTiff", **shape, **options) as file:
                file.write(np.ones((count, 2, 3), dtype))
                after(file)
            dataset: DatasetReader = stack.enter_context(memory.open())
            return RasterForm(dataset, tags or {}, bands)

        yield make


def described(*names: str) -> Callable[[Any], object]:
    return lambda file: [file.set_band_description(n + 1, name) for n, name in enumerate(names)]


def coloured(*colours: ColorInterp) -> Callable[[Any], object]:
    return lambda file: setattr(file, "colorinterp", colours)


class TestShown:
    @pytest.mark.parametrize(
        ("count", "shown"), [(1, (1,)), (2, (1,)), (3, (1, 2, 3)), (12, (1, 2, 3))]
    )
    def test_the_first_ones(self, made: Made, count: int, shown: tuple[int, ...]) -> None:
        assert made(count, photometric="MINISBLACK").shown == shown

    @pytest.mark.parametrize("names", [("B02", "B03 ", "b04", "B08"), ("b", "G", "r", "nir")])
    def test_by_name(self, made: Made, names: tuple[str, ...]) -> None:
        assert made(4, after=described(*names)).shown == (3, 2, 1)

    def test_a_name_that_is_missing_decides_nothing(self, made: Made) -> None:
        file = made(3, after=described("B02", "B03", "B11"), photometric="MINISBLACK")
        assert file.shown == (1, 2, 3)

    def test_by_colour(self, made: Made) -> None:
        kinds = ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red
        assert made(4, after=coloured(*kinds)).shown == (4, 3, 2)

    def test_requested(self, made: Made) -> None:
        assert made(4, bands=(4, 1, 1)).shown == (4, 1, 1)
        with pytest.raises(ImageError, match="it has 4 bands; --bands 5 asks for more"):
            made(4, bands=(5,))


class TestTransparency:
    KINDS = ColorInterp.alpha, ColorInterp.red, ColorInterp.green, ColorInterp.blue

    def test_its_band_is_not_shown(self, made: Made) -> None:
        file = made(4, after=coloured(*self.KINDS), tags={338: (1,)})
        assert (file.alpha, file.shown) == (1, (2, 3, 4))
        form = Form("uint8", 8, 4, (2, 3, 4), 1, certain=False, premultiplied=True)
        assert file.form == form

    def test_where_it_is_requested_it_is_a_band(self, made: Made) -> None:
        assert made(4, after=coloured(*self.KINDS), bands=(1,)).alpha == 0
        assert made(4, after=coloured(*self.KINDS), bands=(2,)).alpha == 1


class TestForm:
    def test_bits_and_the_white_end(self, made: Made) -> None:
        file = made(1, "uint16", tags={262: 0}, nbits=12)
        assert file.form == Form("uint16", 12, 1, (1,), inverted=True)

    def test_scaled(self, made: Made) -> None:
        file = made(1, "int16", lambda file: setattr(file, "scales", (0.5,)))
        assert file.form == Form("int16", 16, 1, (1,), scaled=True)
        assert file.scales == [(0.5, 0.0)]

    def test_a_palette(self, made: Made) -> None:
        table = {0: (0, 0, 0, 255), 1: (9, 8, 7, 255)}
        file = made(after=lambda file: file.write_colormap(1, table), photometric="PALETTE")
        assert file.palette is not None
        assert file.palette[:2].tolist() == [[0, 0, 0, 255], [9, 8, 7, 255]]
        assert file.form == ORDINARY

    @pytest.mark.parametrize(("count", "dtype"), [(1, "uint8"), (3, "uint8")])
    def test_ordinary(self, made: Made, count: int, dtype: str) -> None:
        assert made(count, dtype).is_ordinary

    @pytest.mark.parametrize(
        "options",
        [
            {"dtype": "uint16"}, {"count": 2}, {"count": 3, "bands": (1, 2, 3)}, {"nodata": 0},
            {"tags": {259: 50000}}, {"after": lambda file: setattr(file, "offsets", (1.0,))},
        ],
    )  # fmt: skip
    def test_not_ordinary(self, made: Made, options: dict[str, Any]) -> None:
        assert not made(**options).is_ordinary

    def test_colour_spaces_are_for_pillow(self, made: Made) -> None:
        assert made(3, tags={262: 6}).is_ordinary


class TestStated:
    @pytest.mark.parametrize(
        ("tags", "span"),
        [
            ({}, None),
            ({340: 2, 341: 9}, (2.0, 9.0)),
            ({340: (3, 1), 341: (8, 12)}, (1.0, 12.0)),
            ({280: 0, 281: 4095}, (0.0, 4095.0)),
            ({340: 2, 280: 1, 281: 5}, (1.0, 5.0)),
            ({340: 5, 341: 5}, None),
            ({340: "a", 341: "b", 280: 1, 281: 5}, (1.0, 5.0)),
            ({340: float("-inf"), 341: 1.0}, None),
        ],
    )
    def test_by_tags(self, made: Made, tags: dict[int, Any], span: Any) -> None:
        assert made(1, "uint16", tags=tags).stated == span

    def test_by_statistics_of_the_first_band_scaled(self, made: Made) -> None:
        def after(file: Any) -> None:
            file.update_tags(1, STATISTICS_MINIMUM="10", STATISTICS_MAXIMUM="30")
            file.scales, file.offsets = (-2.0,), (1.0,)

        assert made(1, "int16", after).stated == (-59.0, -19.0)


@pytest.mark.parametrize(("units", "one"), [(("m", "m", "K"), False), (("m", "m", "m"), True)])
def test_units(made: Made, units: tuple[str, ...], one: bool) -> None:
    file = made(3, "float32", lambda file: setattr(file, "units", units))
    assert file.one_unit == one
    assert made(3, bands=(1, 2)).one_unit
