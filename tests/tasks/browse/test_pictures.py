"""Pictures for the page: ids are never mixed, and lie where the photo shows their pixels."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.browse import pictures


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("size", [(600, 900), (901, 240), (30, 50), (240, 240)])
def test_ids_are_as_large_as_the_photo(size: tuple[int, int]) -> None:
    photo = pictures.photo(np.zeros((*size, 3), np.uint8), pictures.THUMB_SIDE)
    ids = pictures.ids(np.zeros(size, np.int16), pictures.THUMB_SIDE)
    assert decoded(photo).shape[:2] == decoded(ids).shape


def test_ids_are_those_at_the_centres_and_void_is_255() -> None:
    values = np.repeat(np.repeat(np.array([[3, 200], [-1, 7]], np.int16), 30, 0), 30, 1)
    shown = decoded(pictures.ids(values, 2))
    assert shown.tolist() == [[3, 200], [255, 7]]


def test_cosines_are_bytes_from_minus_one_to_one() -> None:
    document = pictures.cosines(np.array([[-1.0, 0.0, 1.0]], np.float32))
    assert (document["height"], document["width"], document["mean"]) == (1, 3, 0.0)
    assert list(base64.b64decode(document["values"])) == [0, 128, 255]
