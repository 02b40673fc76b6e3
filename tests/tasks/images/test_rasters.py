"""Files of every layout become the picture that their data say, and no data is told apart."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.env import Env
from rasterio.io import MemoryFile
from rasterio.transform import Affine, from_origin

from flows.demo.scenes import scene, scene_generator
from stego_core.errors import ImageError
from stego_core.images.rendering import Picture
from tasks.images import image_codecs, number_meaning, rendering
from tasks.images.number_counts import NumberCounts
from tasks.options import CorpusOptions

LIMIT = 1_000_000
HEIGHT, WIDTH = 48, 80
HOLE = np.zeros((HEIGHT, WIDTH), np.bool_)
HOLE[:12, :20] = True


def pixels() -> NDArray[np.uint8]:
    """A scene that has many pixels of level 0 and of level 255 in each channel."""
    found = scene(scene_generator(0, 3), (HEIGHT, WIDTH))[0].astype(np.float64)
    low, high = np.quantile(found, (0.03, 0.97), axis=(0, 1))
    return np.rint(((found - low) * 255 / (high - low)).clip(0, 255)).astype(np.uint8)


RGB = pixels()
BANDS = RGB.transpose(2, 0, 1)
GREY = BANDS[:1]
UNIT = GREY.astype(np.float32) / 255


def tiff(bands: NDArray[Any], driver: str = "GTiff", **options: Any) -> bytes:
    """Bands (C, H, W) as GDAL writes them; `after` is called with the open file."""
    after = options.pop("after", None)
    place = {"transform": from_origin(5e5, 5.4e6, 0.5, 0.5), "crs": "EPSG:32633"}
    place = {**place, **options} if driver == "GTiff" else options
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(driver=driver, **shape, **place) as file:
            file.write(bands)
            if after:
                after(file)
        return bytes(memory.read())


def plain(kind: str, image: Image.Image, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def corpus(*contents: bytes, **options: Any) -> tuple[list[Picture], number_meaning.NumberMeaning]:
    """Pictures of a corpus of some files, and what was decided for it."""
    chosen = CorpusOptions(images="anywhere", **options)
    bands = number_meaning.parsed_bands(chosen.bands)
    tallies = []
    for content in contents:
        with rendering.opened(content, LIMIT, bands) as source:
            tallies.append(NumberCounts.of(source))
    decided = number_meaning.decide(tallies, chosen)
    made = number_meaning.renderer_of([{"values": decided.document()}])
    return [made.picture(content, LIMIT) for content in contents], decided


def picture(content: bytes, **options: Any) -> Picture:
    ((found,), _) = corpus(content, **options)
    return found


def hole(value: float, dtype: str = "float32", source: NDArray[Any] = UNIT) -> NDArray[Any]:
    bands = source.astype(dtype)
    bands[:, HOLE] = value
    return bands


LAYOUTS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "plain": (BANDS, {"photometric": "RGB"}),
    "planar": (BANDS, {"photometric": "RGB", "interleave": "band"}),
    "deflate with a predictor": (
        BANDS,
        {"photometric": "RGB", "compress": "deflate", "predictor": 2},
    ),
    "zstd": (BANDS, {"photometric": "RGB", "compress": "zstd"}),
    "tiled lzw": (
        BANDS,
        {
            "photometric": "RGB",
            "compress": "lzw",
            "tiled": True,
            "blockxsize": 32,
            "blockysize": 16,
        },
    ),
    "BigTIFF": (BANDS, {"photometric": "RGB", "BIGTIFF": "YES"}),
    "LERC": (BANDS, {"photometric": "RGB", "compress": "lerc"}),
    "lossless WebP": (BANDS, {"photometric": "RGB", "compress": "webp", "WEBP_LOSSLESS": "YES"}),
    "big-endian": (BANDS, {"photometric": "RGB", "ENDIANNESS": "BIG"}),
    "overviews": (
        BANDS,
        {"photometric": "RGB", "after": lambda file: file.build_overviews([2, 4])},
    ),
    "rotated": (
        BANDS,
        {"photometric": "RGB", "transform": Affine.rotation(30) @ Affine.scale(0.5, -0.5)},
    ),
    "rows from the south": (BANDS, {"photometric": "RGB", "transform": Affine.scale(0.5, 0.5)}),
    "sixteen bits": (BANDS.astype(np.uint16) * 257, {"photometric": "RGB"}),
    "big-endian sixteen bits": (BANDS.astype(np.uint16) * 257, {"ENDIANNESS": "BIG"}),
    "twelve bits stated": (
        np.rint(BANDS * (4095 / 255)).astype(np.uint16),
        {"photometric": "RGB", "NBITS": 12},
    ),
    "reflectances": (BANDS.astype(np.uint16) * 12, {"photometric": "RGB"}),
    "signed reflectances": (BANDS.astype(np.int16) * 12, {}),
    "thirty-two bits": (BANDS.astype(np.uint32) * 16843009, {}),
    "shares": (BANDS.astype(np.float32) / 255, {"photometric": "RGB"}),
    "shares with predictor 3": (
        BANDS.astype(np.float32) / 255,
        {"compress": "deflate", "predictor": 3},
    ),
    "shares in float64": (BANDS.astype(np.float64) / 255, {}),
    "levels in float32": (BANDS.astype(np.float32), {}),
    "near infrared as a fourth band": (np.concatenate([BANDS, 60 - GREY // 9]), {}),
    "a fourth band, no colours stated": (
        np.concatenate([BANDS, 60 - GREY // 9]),
        {"photometric": "MINISBLACK"},
    ),
    "five bands": (np.concatenate([BANDS, GREY, GREY]), {"photometric": "RGB"}),
    "twelve bands": (np.concatenate([BANDS.astype(np.uint16) * 12] * 4), {}),
    "scaled": (
        BANDS.astype(np.uint16) * 2,
        {"after": lambda file: setattr(file, "scales", [1 / 510] * 3)},
    ),
    "sparse": (BANDS, {"photometric": "RGB", "SPARSE_OK": "TRUE", "tiled": True}),
}
GREYS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "plain": (GREY, {}),
    "two bands": (BANDS[:2], {}),
    "white is zero": (255 - GREY, {"photometric": "MINISWHITE"}),
    "white is zero in sixteen bits": (
        65535 - GREY.astype(np.uint16) * 257,
        {"photometric": "MINISWHITE"},
    ),
    "float64": (UNIT.astype(np.float64), {}),
    "densities": (GREY.astype(np.int16) * 8 - 1024, {}),
    "heights": (1200 + 3 * GREY.astype(np.float32), {}),
    "complex": (UNIT * np.complex64(0.6 + 0.8j), {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_picture_whatever_the_layout(name: str) -> None:
    bands, options = LAYOUTS[name]
    found = picture(tiff(bands, **options))
    assert found.valid is None
    off = np.abs(found.pixels.astype(int) - RGB)
    assert off.max() <= ("twelve bits" in name)


@pytest.mark.parametrize("name", GREYS)
def test_the_same_grey_whatever_the_layout(name: str) -> None:
    bands, options = GREYS[name]
    found = picture(tiff(bands, **options))
    assert found.valid is None
    np.testing.assert_array_equal(found.pixels, GREY[0][..., None].repeat(3, axis=2))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_than_eight_bits(bits: int) -> None:
    numbers = (GREY >> (8 - bits)).astype(np.uint8)
    expected = np.rint(numbers[0] * (255 / (2**bits - 1))).astype(np.uint8)
    for compress in ("none", "zstd"):  # the one is Pillow's, the other GDAL's
        found = picture(tiff(numbers, NBITS=bits, compress=compress))
        np.testing.assert_array_equal(found.pixels[..., 0], expected)


@pytest.mark.parametrize("compress", ["jpeg"])
def test_jpeg_inside(compress: str) -> None:
    for photometric in ("YCBCR", "RGB"):
        content = tiff(BANDS, compress=compress, photometric=photometric, JPEG_QUALITY=95)
        assert np.abs(picture(content).pixels.astype(int) - RGB).mean() < 12


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1", "YCbCr"])
def test_ordinary_files_are_what_they_were(mode: str) -> None:
    for kind in ("TIFF", "PNG", "JPEG"):
        if (kind, mode) in {("PNG", "CMYK"), ("PNG", "YCbCr"), ("JPEG", "P"), ("JPEG", "1")}:
            continue
        content = plain(kind, Image.fromarray(RGB).convert(mode))
        found, decided = corpus(content)
        np.testing.assert_array_equal(found[0].pixels, image_codecs.decode(content, LIMIT))
        assert found[0].valid is None
        assert decided.pins() is None
        assert decided.lines == ("1 file of 8 bits a channel, as they are",)


def test_lab() -> None:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.fromarray(RGB), transform)
    assert lab is not None
    assert np.abs(picture(plain("TIFF", lab)).pixels.astype(int) - RGB).mean() < 4


class TestSixteenBits:
    def test_png_rgb_keeps_its_low_bits(self) -> None:
        content = tiff(BANDS.astype(np.uint16) * 12, driver="PNG")
        np.testing.assert_array_equal(picture(content).pixels, RGB)

    def test_png_grey_as_pillow_writes_it(self) -> None:
        content = plain("PNG", Image.fromarray(GREY[0].astype(np.uint16) * 16))
        np.testing.assert_array_equal(picture(content).pixels[..., 1], GREY[0])

    def test_png_with_transparency(self) -> None:
        alpha = np.where(HOLE, 0, 65535).astype(np.uint16)[None]
        found = picture(tiff(np.concatenate([BANDS.astype(np.uint16) * 257, alpha]), driver="PNG"))
        np.testing.assert_array_equal(found.valid, ~HOLE)
        np.testing.assert_array_equal(found.pixels[~HOLE], RGB[~HOLE])

    def test_jpeg_2000(self) -> None:
        content = tiff(
            BANDS.astype(np.uint16) * 12, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES"
        )
        np.testing.assert_array_equal(picture(content).pixels, RGB)

    def test_pgm(self) -> None:
        numbers = GREY[0].astype(">u2") * 257
        content = b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + numbers.tobytes()
        np.testing.assert_array_equal(picture(content).pixels[..., 2], GREY[0])


NOTHING: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "not a number": (hole(np.nan), {}),
    "stated not a number": (hole(np.nan), {"nodata": np.nan}),
    "infinity": (hole(np.inf), {}),
    "minus infinity": (hole(-np.inf), {}),
    "stated −9999": (hole(-9999), {"nodata": -9999}),
    "−9999, not stated": (hole(-9999), {}),
    "−9999 in int16, not stated": (hole(-9999, "int16", GREY.astype(np.int16) * 12), {}),
    "−32768 in int16": (hole(-32768, "int16", GREY.astype(np.int16) * 12), {"nodata": -32768}),
    "1e20": (hole(1e20), {}),
    "the least float": (hole(-3.4028234663852886e38), {"nodata": -3.4028234663852886e38}),
    "the greatest float, not stated": (hole(3.4028234663852886e38), {}),
    "0.1, no float32 exactly": (hole(-0.1), {"nodata": -0.1}),
    "65535": (hole(65535, "uint16", BANDS.astype(np.uint16) * 12), {"nodata": 65535}),
    "0 of three bands": (hole(0, "uint8", BANDS), {"nodata": 0, "photometric": "RGB"}),
    "0 of twelve bands": (
        hole(0, "uint16", np.concatenate([BANDS.astype(np.uint16) * 12] * 4)),
        {"nodata": 0},
    ),
    "a mask": (BANDS, {"photometric": "RGB", "after": lambda file: file.write_mask(~HOLE)}),
    "a mask of sixteen bits": (
        BANDS.astype(np.uint16) * 12,
        {"after": lambda file: file.write_mask(~HOLE)},
    ),
    "transparency": (
        np.concatenate([BANDS, np.where(HOLE, 0, 255).astype(np.uint8)[None]]),
        {"photometric": "RGB", "ALPHA": "YES"},
    ),
    "transparency, multiplied": (
        np.concatenate([BANDS, np.where(HOLE, 0, 255).astype(np.uint8)[None]]),
        {"photometric": "RGB", "ALPHA": "PREMULTIPLIED"},
    ),
    "transparency beside grey": (
        np.concatenate([GREY, np.where(HOLE, 0, 255).astype(np.uint8)[None]]),
        {"ALPHA": "YES"},
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_data(name: str) -> None:
    bands, options = NOTHING[name]
    found = picture(tiff(bands, **options))
    expected = ~HOLE
    if options.get("nodata") == 0:
        expected = ~(bands[:3] == 0).all(axis=0)
    np.testing.assert_array_equal(found.valid, expected)
    shown = RGB if len(bands) >= 3 else GREY[0][..., None].repeat(3, axis=2)
    off = np.abs(found.pixels.astype(int) - shown)[expected]
    assert off.max() == 0  # no sentinel widened the range


def test_zero_in_one_band_is_a_value_where_zero_means_no_data() -> None:
    bands = np.maximum(BANDS, 1)
    bands[0, 20:] = 0
    assert picture(tiff(bands, nodata=0, photometric="RGB")).valid is None


def test_a_sentinel_among_such_values_is_a_value() -> None:
    depths = -10_010 + GREY.astype(np.float32) / 10
    depths[0, :3, :3] = -9999
    assert picture(tiff(depths)).valid is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_of_pictures(kind: str) -> None:
    rgba = Image.fromarray(RGB).convert("RGBA")
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    alpha[30, 30:40] = 128
    rgba.putalpha(Image.fromarray(alpha))
    found = picture(plain(kind, rgba, **({"lossless": True} if kind == "WEBP" else {})))
    np.testing.assert_array_equal(found.valid, ~HOLE)
    half = np.abs(found.pixels[30, 30:40].astype(int) - (RGB[30, 30:40].astype(int) + 255) / 2)
    assert half.max() <= 1


def test_a_colour_that_a_png_calls_transparent() -> None:
    keyed = RGB.copy()
    keyed[HOLE] = (1, 2, 3)
    found = picture(plain("PNG", Image.fromarray(keyed), transparency=(1, 2, 3)))
    np.testing.assert_array_equal(found.valid, ~(keyed == (1, 2, 3)).all(axis=-1))


def test_a_palette_with_no_data() -> None:
    indices = (GREY // 64).astype(np.uint8)

    def colour(file: Any) -> None:
        file.write_colormap(1, {0: (0, 0, 0), 1: (200, 10, 10), 2: (10, 200, 10), 3: (9, 9, 200)})

    found = picture(tiff(indices, photometric="PALETTE", nodata=0, after=colour))
    np.testing.assert_array_equal(found.valid, indices[0] > 0)
    assert (found.pixels[indices[0] == 2] == (10, 200, 10)).all()


class TestBands:
    def test_those_asked_for(self) -> None:
        content = tiff(np.concatenate([255 - BANDS, BANDS[::-1]]))
        np.testing.assert_array_equal(picture(content, bands="6,5,4").pixels, RGB)
        np.testing.assert_array_equal(picture(content, bands="6").pixels[..., 1], BANDS[0])

    def test_the_transparency_s_band_too(self) -> None:
        alpha = np.where(HOLE, 0, 255).astype(np.uint8)[None]
        content = tiff(np.concatenate([BANDS, alpha]), photometric="RGB", ALPHA="YES")
        found = picture(content, bands="4,2,3")
        assert found.valid is None
        np.testing.assert_array_equal(found.pixels[..., 0], alpha[0])

    def test_of_ordinary_pictures(self) -> None:
        content = plain("PNG", Image.fromarray(RGB))
        np.testing.assert_array_equal(picture(content, bands="3,2,1").pixels, RGB[..., ::-1])

    @pytest.mark.parametrize("kind", ["GTiff", "PNG"])
    def test_that_are_not_there(self, kind: str) -> None:
        with pytest.raises(ImageError, match=r"--bands 6,2,1 asks for more"):
            picture(tiff(BANDS, driver=kind), bands="6,2,1")

    def test_by_their_descriptions(self) -> None:
        def describe(file: Any) -> None:
            for band, name in enumerate(("B02", "B03", "B04", "B08"), start=1):
                file.set_band_description(band, name)

        bands = np.concatenate([BANDS[::-1], GREY]).astype(np.uint16) * 12
        np.testing.assert_array_equal(picture(tiff(bands, after=describe)).pixels, RGB)

    def test_by_their_colours(self) -> None:
        colours = (ColorInterp.blue, ColorInterp.green, ColorInterp.red)

        def colour(file: Any) -> None:
            file.colorinterp = colours

        content = tiff(BANDS[::-1].astype(np.uint16) * 257, after=colour)
        np.testing.assert_array_equal(picture(content).pixels, RGB)

    def test_of_several_units(self) -> None:
        bands = (BANDS + 100.0) * np.array([3.0, 30.0, 300.0]).reshape(3, 1, 1)

        def measure(file: Any) -> None:
            file.units = ("m", "K", "Pa")

        found = picture(tiff(bands.astype(np.float32), after=measure)).pixels
        for band in range(3):
            own = BANDS[band].astype(float)
            stretched = (own - own.min()) * 255 / (own.max() - own.min())
            assert np.abs(found[..., band] - stretched).max() <= 0.51


class TestCorpus:
    def test_one_range_for_all_images(self) -> None:
        dark, bright = (BANDS.astype(np.uint16) * factor for factor in (4, 12))
        found, decided = corpus(tiff(dark), tiff(bright))
        np.testing.assert_array_equal(found[1].pixels, RGB)
        np.testing.assert_allclose(found[0].pixels, RGB / 3, atol=0.51)
        assert decided.lines == (
            "2 files of uint16, 3 bands, bands 1, 2, 3 as red, green, blue, range 0 to 3060 (least "
            "to greatest value of the corpus)",
        )

    def test_each_form_by_itself(self) -> None:
        contents = tiff(BANDS.astype(np.uint16) * 12), plain("PNG", Image.fromarray(RGB))
        found, decided = corpus(*contents, tiff(BANDS.astype(np.float32) / 255))
        for each in found:
            np.testing.assert_array_equal(each.pixels, RGB)
        assert len(decided.lines) == 3

    def test_a_later_corpus_has_the_range_of_the_first(self) -> None:
        first, later = tiff(BANDS.astype(np.uint16) * 12), tiff(BANDS.astype(np.uint16) * 24)
        _, decided = corpus(first)
        chosen = CorpusOptions(images="anywhere")
        with rendering.opened(later, LIMIT) as source:
            found = number_meaning.decide([NumberCounts.of(source)], chosen, decided.renderings)
        assert found.renderings == decided.renderings
        assert "as in training" in found.lines[0]
        assert "outside of the range" in found.warnings[0]

    def test_given_ranges_also_of_eight_bits(self) -> None:
        found = picture(plain("PNG", Image.fromarray(RGB // 4)), value_range="0,63")
        assert np.abs(found.pixels.astype(int) - (RGB // 4) * (255 / 63)).max() <= 0.51

    def test_no_data_is_told(self) -> None:
        _, decided = corpus(tiff(hole(np.nan)), tiff(UNIT))
        assert decided.lines[-1] == "no data: 3.1 % of the pixels, in 1 image"
        assert decided.pins() is not None

    def test_what_has_no_data_at_all_is_refused(self) -> None:
        nothing = (
            tiff(np.full((1, 8, 8), np.nan, np.float32)),
            tiff(np.zeros((3, 8, 8), np.uint8), nodata=0),
            plain("PNG", Image.new("RGBA", (8, 8))),
        )
        for content in nothing:
            with pytest.raises(ImageError, match="none of its pixels holds data"):
                picture(content)

    @pytest.mark.parametrize(("level", "said"), [(3, "every pixel"), (0, "every pixel")])
    def test_a_constant_corpus_is_told(self, level: int, said: str) -> None:
        _, decided = corpus(plain("PNG", Image.new("RGB", (8, 8), (level,) * 3)))
        assert said in decided.warnings[0]
        _, decided = corpus(tiff(np.full((1, 8, 8), 700 + level, np.uint16)))
        assert said in decided.warnings[0]

    def test_an_almost_black_corpus_is_told(self) -> None:
        _, decided = corpus(plain("PNG", Image.fromarray(RGB // 60)))
        assert "almost black" in decided.warnings[0]
        _, decided = corpus(plain("PNG", Image.fromarray(255 - RGB // 60)))
        assert "almost white" in decided.warnings[0]

    def test_near_infrared_is_no_transparency_and_that_is_told(self) -> None:
        _, decided = corpus(tiff(np.concatenate([BANDS, 60 - GREY // 9])))
        assert "band 4 is not transparency, whatever its tag says" in decided.lines[0]


class TestBroken:
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_truncated(self, share: float, capfd: pytest.CaptureFixture[str]) -> None:
        content = tiff(BANDS.astype(np.uint16) * 12, compress="zstd")
        with pytest.raises(ImageError) as caught:
            picture(content[: int(len(content) * share)])
        assert "\n" not in str(caught.value)
        assert capfd.readouterr().err == ""

    def test_what_other_drivers_would_follow(self, tmp_path: Path) -> None:
        (tmp_path / "other.tif").write_bytes(tiff(BANDS))
        text = (
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
            f"<SimpleSource><SourceFilename>{tmp_path}/other.tif</SourceFilename></SimpleSource>"
            "</VRTRasterBand></VRTDataset>"
        )
        with pytest.raises(ImageError, match="no decoder knows"):
            picture(text.encode())

    def test_too_large(self) -> None:
        content = tiff(BANDS)
        with pytest.raises(ImageError, match="more than the limit"), rendering.opened(content, 99):
            pass


def test_orientation_of_what_pillow_cannot_read() -> None:
    """A tag that GDAL keeps and does not apply."""
    content = plain("TIFF", Image.fromarray(GREY[0].astype(np.uint16) * 257), tiffinfo={274: 6})
    found = picture(content)
    np.testing.assert_array_equal(found.pixels[..., 0], np.rot90(GREY[0], -1))
    assert rendering.stored(content, LIMIT) == image_codecs.EncodedImage("TIFF", 6)
