"""Every kind of picture people have becomes the pixels they see, or a reason in one sentence."""

import io
import struct
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import DamageError, ImageError
from tasks.images import image_codecs

LIMIT = 1_000_000
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height: int = 48, width: int = 80) -> NDArray[np.uint8]:
    """Red, green over blue, white: no turn or mirror of it looks the same."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = WHITE
    return pixels


def stored(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes | None, *extra: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write; `rows` with their filter bytes."""
    width, height = size
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra]
    if rows is not None:
        parts.append(chunk(b"IDAT", zlib.compress(rows)))
    return b"".join([*parts, chunk(b"IEND", b"")])


def corners(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The four corners' colours, two pixels inside."""
    return pixels[[2, 2, -3, -3], [2, -3, 2, -3]].astype(np.int64)


def same_picture(found: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: int = 0) -> bool:
    return found.shape == expected.shape and bool(
        (np.abs(corners(found) - corners(expected)) <= tolerance).all()
    )


def one_pixel(content: bytes) -> list[list[int]]:
    """The colours of the first row."""
    return image_codecs.decode(content, LIMIT)[0].tolist()


def reason(content: bytes, max_pixels: int = LIMIT) -> str:
    """Why the bytes cannot be decoded; one clear line."""
    with pytest.raises(ImageError) as caught:
        image_codecs.decode(content, max_pixels)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert "BytesIO" not in text
    return text


class TestContract:
    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
    def test_lossless_kinds(self, kind: str) -> None:
        found = image_codecs.decode(stored(Image.fromarray(quarters()), kind), LIMIT)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        assert np.array_equal(found, quarters())

    def test_webp(self) -> None:
        content = stored(Image.fromarray(quarters()), "WEBP", lossless=True)
        assert np.array_equal(image_codecs.decode(content, LIMIT), quarters())

    def test_jpeg(self) -> None:
        for options in ({}, {"progressive": True}):
            content = stored(Image.fromarray(quarters()), "JPEG", quality=95, **options)
            assert same_picture(image_codecs.decode(content, LIMIT), quarters(), 6)

    def test_a_phone_s_jpeg_of_several_pictures(self) -> None:
        first, other = Image.fromarray(quarters()), Image.new("RGB", (80, 48))
        content = stored(first, "MPO", save_all=True, append_images=[other], quality=95)
        assert same_picture(image_codecs.decode(content, LIMIT), quarters(), 6)

    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_odd_sizes(self, size: tuple[int, int], kind: str) -> None:
        content = stored(
            Image.new("RGB", size, (10, 200, 30)),
            kind,
            **({"quality": 95} if kind == "JPEG" else {}),
        )
        found = image_codecs.decode(content, LIMIT)
        assert found.shape == (size[1], size[0], 3)
        assert (np.abs(found.astype(int) - [10, 200, 30]) <= 6).all()

    @given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
    def test_any_size_any_pixels(self, height: int, width: int, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        assert np.array_equal(
            image_codecs.decode(stored(Image.fromarray(pixels), "PNG"), LIMIT), pixels
        )


SEEN = quarters()
STORED = {
    1: SEEN,
    2: SEEN[:, ::-1],
    3: SEEN[::-1, ::-1],
    4: SEEN[::-1],
    5: SEEN.transpose(1, 0, 2),
    6: SEEN.transpose(1, 0, 2)[::-1],
    7: SEEN.transpose(1, 0, 2)[::-1, ::-1],
    8: SEEN.transpose(1, 0, 2)[:, ::-1],
}
"""What lies in the file: EXIF 2.32 says where row 0 and column 0 are seen (6: right, top)."""


class TestOrientation:
    @pytest.mark.parametrize("orientation", STORED)
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_as_displayed(self, orientation: int, kind: str) -> None:
        exif = Image.Exif()
        exif[image_codecs.ORIENTATION_TAG] = orientation
        image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
        quality = {"quality": 95} if kind in {"JPEG", "WEBP"} else {}
        found = image_codecs.decode(stored(image, kind, exif=exif, **quality), LIMIT)
        assert same_picture(found, SEEN, 12)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_one_that_does_not_exist_is_none(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[image_codecs.ORIENTATION_TAG] = orientation
        content = stored(Image.fromarray(SEEN), "PNG", exif=exif)
        assert np.array_equal(image_codecs.decode(content, LIMIT), SEEN)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("exif", [b"rubbish", b"MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03"])
    def test_damaged_exif_is_none(self, exif: bytes) -> None:
        content = stored(Image.fromarray(SEEN), "JPEG", quality=95, exif=b"Exif\0\0" + exif)
        assert same_picture(image_codecs.decode(content, LIMIT), SEEN, 6)


class TestColours:
    def test_cmyk_jpeg(self) -> None:
        content = stored(Image.fromarray(quarters()).convert("CMYK"), "JPEG", quality=95)
        with Image.open(io.BytesIO(content)) as image:
            assert image.mode == "CMYK"
        assert same_picture(image_codecs.decode(content, LIMIT), quarters(), 8)

    def test_grey_jpeg(self) -> None:
        content = stored(Image.new("L", (8, 8), 77), "JPEG", quality=95)
        assert (np.abs(image_codecs.decode(content, LIMIT).astype(int) - 77) <= 2).all()

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
    def test_16_bit_grey_keeps_its_scale(self, kind: str) -> None:
        values = np.array([[0, 257, 32768, 65535]], np.uint16)
        grey = [[value] * 3 for value in (0, 1, 128, 255)]
        assert one_pixel(stored(Image.fromarray(values), kind)) == grey

    def test_a_dark_16_bit_grey_stays_dark(self) -> None:
        values = np.full((4, 4), 4095, np.uint16)  # a 12-bit camera's white
        assert one_pixel(stored(Image.fromarray(values), "PNG"))[0] == [16, 16, 16]

    def test_16_bit_rgb(self) -> None:
        row = np.array([65535, 0, 32768, 257, 514, 65535], ">u2").tobytes()
        assert one_pixel(png((2, 1), 16, 2, b"\0" + row)) == [[255, 0, 128], [1, 2, 255]]

    def test_floats_from_their_smallest_to_their_largest(self) -> None:
        values = np.array([[-1, 0, 1, np.nan]], np.float32)
        found = one_pixel(stored(Image.fromarray(values), "TIFF"))
        assert found == [[0] * 3, [128] * 3, [255] * 3, [128] * 3]

    @pytest.mark.filterwarnings("error")
    def test_infinite_floats(self) -> None:
        values = np.array([[-np.inf, 0, np.inf]], np.float32)
        found = one_pixel(stored(Image.fromarray(values), "TIFF"))
        assert found == [[0] * 3, [128] * 3, [255] * 3]

    def test_1_bit(self) -> None:
        assert one_pixel(png((4, 1), 1, 0, b"\0\x50")) == [[0] * 3, [255] * 3] * 2

    @pytest.mark.parametrize("depth", [2, 4])
    def test_few_greys_span_black_to_white(self, depth: int) -> None:
        found = one_pixel(png((2, 1), depth, 0, bytes([0, 0x30 if depth == 2 else 0x0F])))
        assert found == [[0] * 3, [255] * 3]

    def test_palette(self) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *GREEN, 1, 2, 3])
        image.putdata([1, 2, 0])
        assert one_pixel(stored(image, "PNG")) == [list(GREEN), [1, 2, 3], list(RED)]

    def test_the_first_frame_of_an_animation(self) -> None:
        frames = [Image.new("RGB", (5, 4), colour) for colour in (RED, BLUE, GREEN)]
        for kind in ("GIF", "PNG", "TIFF"):
            content = stored(frames[0], kind, save_all=True, append_images=frames[1:])
            assert one_pixel(content) == [list(RED)] * 5


class TestTransparency:
    """White lies behind what can be seen through."""

    def test_palette_with_one_transparent_colour(self) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *GREEN, *BLUE])
        image.putdata([0, 1, 2])
        content = stored(image, "PNG", transparency=1)
        assert one_pixel(content) == [list(RED), list(WHITE), list(BLUE)]

    def test_palette_with_half_transparent_colours(self) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])
        image.putdata([0, 1, 2])
        content = stored(image, "PNG", transparency=bytes([0, 51, 255]))
        assert one_pixel(content) == [[255] * 3, [204] * 3, [0] * 3]

    def test_grey_with_alpha(self) -> None:
        values = np.array([[[100, 255], [100, 0], [0, 51]]], np.uint8)
        content = stored(Image.fromarray(values, mode="LA"), "PNG")
        assert one_pixel(content) == [[100] * 3, [255] * 3, [204] * 3]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_rgb_with_alpha(self, kind: str) -> None:
        values = np.array([[[9, 8, 7, 255], [9, 8, 7, 0], [0, 255, 0, 51]]], np.uint8)
        found = one_pixel(stored(Image.fromarray(values), kind))
        assert found == [[9, 8, 7], [255] * 3, [204, 255, 204]]

    def test_16_bit_rgb_with_alpha(self) -> None:
        row = np.array([65535, 0, 0, 65535, 0, 0, 0, 0], ">u2").tobytes()
        assert one_pixel(png((2, 1), 16, 6, b"\0" + row)) == [list(RED), list(WHITE)]

    def test_one_transparent_grey(self) -> None:
        content = png((2, 1), 8, 0, b"\0\x05\x06", chunk(b"tRNS", struct.pack(">H", 5)))
        assert one_pixel(content) == [[255] * 3, [6] * 3]

    def test_transparent_and_turned(self) -> None:
        exif = Image.Exif()
        exif[image_codecs.ORIENTATION_TAG] = 6
        values = np.array([[[9, 8, 7, 255]], [[9, 8, 7, 0]]], np.uint8)
        content = stored(Image.fromarray(values), "PNG", exif=exif)
        assert one_pixel(content) == [[255] * 3, [9, 8, 7]]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
FLOAT_OFFSETS = stored(NOISE, "TIFF").replace(  # tag 273 (where the pixels lie) as a float
    struct.pack("<HHI", 273, 4, 1), struct.pack("<HHI", 273, 11, 1)
)


class TestBroken:
    def test_empty(self) -> None:
        assert reason(b"") == "the file is empty (0 bytes)"

    @pytest.mark.parametrize(
        "content",
        [b"hello, I am a text", b"\0", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"%PDF-1.7"],
    )
    def test_not_an_image(self, content: bytes) -> None:
        assert reason(content) == "not an image: no decoder knows these bytes"

    def test_postscript_never_reaches_an_interpreter(self) -> None:
        script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
        assert reason(script) == "not an image: no decoder knows these bytes"

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_truncated(self, kind: str, kept: float) -> None:
        whole = stored(NOISE, kind)
        assert reason(whole[: int(len(whole) * kept)]).startswith("cannot be decoded: ")

    def test_a_flipped_bit_in_a_png(self) -> None:
        content = bytearray(stored(NOISE, "PNG"))
        content[len(content) // 2] ^= 1
        assert reason(bytes(content)).startswith("cannot be decoded: ")

    def test_a_decoder_that_trips_over_itself(self) -> None:
        assert b"\x11\x01\x0b\x00" in FLOAT_OFFSETS
        assert reason(FLOAT_OFFSETS).startswith("cannot be decoded: ")

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @settings(max_examples=400, deadline=None)
    @given(data=st.data())
    def test_damage_of_any_kind(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"]))
        content = bytearray(stored(NOISE.resize((12, 9)), kind))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
        for decode in (image_codecs.decode, image_codecs.decode_labels):
            said = "pixels"
            try:
                decode(bytes(content), LIMIT)
            except ImageError as error:
                said = str(error)
            assert said
            assert "\n" not in said


class TestBombs:
    BOMB = png((60_000, 60_000), 8, 2, None)

    @pytest.mark.parametrize("decode", [image_codecs.decode, image_codecs.decode_labels])
    def test_refused_before_any_memory_is_taken(self, decode: Any) -> None:
        tracemalloc.start()
        begun = time.perf_counter()
        with pytest.raises(ImageError) as caught:
            decode(self.BOMB, 128_000_000)
        spent, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert spent < 1
        assert peak < 1_000_000
        assert str(caught.value) == (
            "60000×60000 is 3,600,000,000 pixels, more than the limit of 128,000,000; "
            "raise --max-pixels if it is meant"
        )

    def test_without_its_data_it_is_broken_even_where_it_is_allowed(self) -> None:
        assert "cannot be decoded" in reason(png((600, 600), 8, 2, None))

    def test_the_limit_is_exact(self) -> None:
        content = stored(Image.new("RGB", (10, 7)), "PNG")
        assert image_codecs.decode(content, 70).shape == (7, 10, 3)
        assert reason(content, 69).startswith("10×7 is 70 pixels, more than the limit of 69;")

    def test_a_text_that_unpacks_to_far_too_much(self) -> None:
        text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 100_000_000))
        assert reason(png((1, 1), 8, 2, b"\0\1\2\3", text)).startswith("cannot be decoded: ")

    def test_pillow_s_own_limit_does_not_interfere(self) -> None:
        assert Image.MAX_IMAGE_PIXELS is None


class TestLabels:
    def test_palette_indices_not_colours(self) -> None:
        ids = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
        image = Image.fromarray(ids, mode="P")
        image.putpalette([*RED, *RED, *BLUE])
        found = image_codecs.decode_labels(stored(image, "PNG"), LIMIT)
        assert found.dtype == np.int32
        assert np.array_equal(found, ids)

    def test_a_transparent_index_is_an_index(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
        image.putpalette([*RED, *BLUE])
        found = image_codecs.decode_labels(stored(image, "PNG", transparency=1), LIMIT)
        assert found.tolist() == [[0, 1]]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
    def test_grey_values(self, kind: str) -> None:
        ids = np.arange(256, dtype=np.uint8).reshape(2, 128)
        found = image_codecs.decode_labels(stored(Image.fromarray(ids), kind), LIMIT)
        assert np.array_equal(found, ids)

    def test_16_bit_values_are_not_scaled(self) -> None:
        ids = np.array([[0, 255, 256, 65535]], np.uint16)
        for kind in ("PNG", "TIFF"):
            found = image_codecs.decode_labels(stored(Image.fromarray(ids), kind), LIMIT)
            assert found.tolist() == [[0, 255, 256, 65535]]

    def test_1_bit_values(self) -> None:
        image = Image.fromarray(np.array([[True, False]]))
        assert image_codecs.decode_labels(stored(image, "PNG"), LIMIT).tolist() == [[1, 0]]

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_colours_are_refused(self, mode: str) -> None:
        with pytest.raises(ImageError, match=f"mode {mode}; expected one channel of ids"):
            image_codecs.decode_labels(stored(Image.new(mode, (2, 2)), "PNG"), LIMIT)

    @pytest.mark.parametrize("content", [b"", b"text", stored(NOISE.convert("L"), "PNG")[:500]])
    def test_broken(self, content: bytes) -> None:
        with pytest.raises(ImageError):
            image_codecs.decode_labels(content, LIMIT)


def colours(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(30, 256, (count, 3)).astype(np.uint8)


class TestMasks:
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 255), st.integers(0, 999))
    def test_round_trip(self, height: int, width: int, classes: int, seed: int) -> None:
        mask = np.random.default_rng(seed).integers(0, classes, (height, width)).astype(np.uint8)
        found = image_codecs.decode_mask(image_codecs.encode_mask(mask, colours(classes)))
        assert found.dtype == np.uint8
        assert np.array_equal(found, mask)

    def test_255_classes_in_their_colours(self) -> None:
        mask = np.arange(255, dtype=np.uint8)[None]
        content = image_codecs.encode_mask(mask, colours(255))
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "P", (255, 1))
        assert np.array_equal(image_codecs.decode(content, LIMIT)[0], colours(255))
        assert np.array_equal(image_codecs.decode_labels(content, LIMIT), mask)

    def test_two_classes_are_not_black(self) -> None:
        mask = np.array([[0, 1], [1, 0]], np.uint8)
        seen = image_codecs.decode(image_codecs.encode_mask(mask, colours(2)), LIMIT)
        assert np.array_equal(seen, colours(2)[mask])
        assert seen.min() >= 30

    def test_however_the_arrays_lie_in_memory(self) -> None:
        mask = np.arange(12, dtype=np.uint8).reshape(3, 4).T
        content = image_codecs.encode_mask(mask, colours(12)[::-1])
        assert np.array_equal(image_codecs.decode_mask(content), mask)
        assert np.array_equal(image_codecs.decode(content, LIMIT), colours(12)[::-1][mask])

    def test_the_same_mask_is_the_same_bytes(self) -> None:
        mask = np.random.default_rng(0).integers(0, 5, (40, 40)).astype(np.uint8)
        first = image_codecs.encode_mask(mask, colours(5))
        assert image_codecs.encode_mask(mask.copy(), colours(5)) == first

    @pytest.mark.parametrize("content", [b"", b"text", stored(NOISE.convert("L"), "PNG")[:500]])
    def test_damage(self, content: bytes) -> None:
        with pytest.raises(DamageError, match="run the same command again"):
            image_codecs.decode_mask(content)


class TestOverlays:
    def test_a_jpeg_of_the_same_size(self) -> None:
        content = image_codecs.encode_overlay(quarters(31, 57))
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.size) == ("JPEG", (57, 31))
        assert same_picture(image_codecs.decode(content, LIMIT), quarters(31, 57), 10)

    def test_is_small(self) -> None:
        noisy = np.asarray(NOISE.resize((640, 480)))
        assert len(image_codecs.encode_overlay(noisy)) < noisy.nbytes / 4


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_labels_of_few_bits_are_ids(bits: int) -> None:
    """Grey PNGs of 1, 2 and 4 bits hold ids, not shades."""
    ids = np.arange(2 ** min(bits, 3), dtype=np.uint8)[None]
    raw = b"".join(bytes([0]) + packed(row, bits) for row in ids)
    width = ids.shape[1]
    content = png((width, 1), bits, 0, raw)
    np.testing.assert_array_equal(image_codecs.decode_labels(content, 10**6), ids)


def packed(row: np.ndarray, bits: int) -> bytes:
    text = "".join(f"{value:0{bits}b}" for value in row)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


class TestShrunk:
    @pytest.mark.parametrize(
        ("before", "side", "after"),
        [
            ((40, 56), 20, (20, 28)),
            ((56, 40), 20, (28, 20)),
            ((33, 50), 16, (16, 24)),
            ((30, 30), 29, (29, 29)),
            ((1000, 8), 4, (500, 4)),
        ],
    )
    def test_the_short_side_is_what_was_asked_for(
        self, before: tuple[int, int], side: int, after: tuple[int, int]
    ) -> None:
        found = image_codecs.shrunk(np.zeros((*before, 3), np.uint8), side)
        assert (found.shape, found.dtype) == ((*after, 3), np.uint8)

    @pytest.mark.parametrize("side", [40, 41, 1000])
    def test_smaller_ones_stay_as_they_are(self, side: int, noise: NDArray[np.uint8]) -> None:
        assert image_codecs.shrunk(noise, side) is noise

    def test_a_pixel_is_the_mean_of_its_area(self, noise: NDArray[np.uint8]) -> None:
        blocks = noise.reshape(10, 4, 14, 4, 3).astype(np.float64)
        found = image_codecs.shrunk(noise, 10)
        np.testing.assert_allclose(found, blocks.mean(axis=(1, 3)), atol=1)

    def test_up_stays_up_and_left_stays_left(self) -> None:
        assert same_picture(image_codecs.shrunk(quarters(), 12), quarters(12, 20))

    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
    def test_never_larger_and_never_below_the_side(
        self, height: int, width: int, side: int
    ) -> None:
        shape = image_codecs.shrunk(np.zeros((height, width, 3), np.uint8), side).shape
        assert min(shape[:2]) == min(height, width, side)
        assert shape[0] <= height
        assert shape[1] <= width
