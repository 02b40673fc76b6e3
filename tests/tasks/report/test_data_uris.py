"""Pictures as data URIs: their size, their colours, and what is refused."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.report import data_uris


def content_of(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1], validate=True)


def test_wide_pictures_shrink_and_small_ones_stay() -> None:
    wide = data_uris.photo(np.zeros((600, 960, 3), dtype=np.uint8), "wide")
    small = data_uris.mask(np.zeros((6, 9, 3), dtype=np.uint8), "small")
    assert (wide.width, wide.height, small.width, small.height) == (480, 300, 9, 6)


def test_masks_keep_their_colours() -> None:
    colours = np.array([[0, 114, 178], [213, 94, 0]], np.uint8)
    mask = colours[np.indices((500, 1000)).sum(axis=0) // 7 % 2]
    shown = np.asarray(Image.open(io.BytesIO(content_of(data_uris.mask(mask, "mask").uri))))
    assert {tuple(c) for c in shown.reshape(-1, 3)} <= {tuple(c) for c in colours}


def test_heat_colours_positive_and_leaves_negative_grey() -> None:
    values = np.array([[1.0, -1.0]])
    embedded = data_uris.heat(np.full((64, 128, 3), 100, np.uint8), values, (255, 0, 0), "heat")
    shown = np.asarray(Image.open(io.BytesIO(content_of(embedded.uri))).convert("RGB")).astype(int)
    assert np.abs(shown[:, :16] - [255, 0, 0]).max() < 12
    assert np.abs(shown[:, -16:] - 70).max() < 12


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(height, width, 3\)"):
        data_uris.photo(np.zeros((4, 4), dtype=np.uint8), "grey")
