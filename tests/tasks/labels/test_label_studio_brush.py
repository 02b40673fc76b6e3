"""The codec of Label Studio's brushes, which its own package brings."""

import sys

import numpy as np
import pytest

from stego_core.errors import OptionError
from tasks.labels.label_studio_brush import brush_codec


def test_what_is_encoded_is_decoded() -> None:
    pytest.importorskip("label_studio_sdk")
    codec = brush_codec("this test")
    values = np.repeat(np.array([0, 255, 255, 0, 255], np.uint8), 4)
    assert np.array_equal(codec.decode_rle(codec.encode_rle(values)), values)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "label_studio_sdk.converter", None)
    with pytest.raises(OptionError, match=r"^masks need the package label-studio-sdk"):
        brush_codec("masks")
