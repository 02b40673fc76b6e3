"""Reads arrays from MATLAB's .mat files; nothing in them is executed."""

import io

import numpy as np
import scipy.io
from numpy.typing import NDArray

from stego_core.errors import ImageError

IMAGE, LABEL = "img", "gt"
"""The arrays of an image and of a label in Potsdam's files."""
RGB = 3
"""Channels that are read."""


def _array(content: bytes, key: str) -> NDArray[np.generic]:
    """The array of that name.

    Raises:
        ImageError: not a .mat file, truncated, or without that array.
    """
    if not content:
        raise ImageError("the file is empty (0 bytes)")
    try:
        arrays = scipy.io.loadmat(io.BytesIO(content), variable_names=[key])
    except NotImplementedError:
        raise ImageError("is a MATLAB 7.3 (HDF5) file; expected 7.2 or earlier") from None
    except Exception as error:  # damaged files raise errors of many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot be read as a .mat file: {reason}") from None
    if key not in arrays:
        raise ImageError(f"holds no array {key!r}")
    array: NDArray[np.generic] = arrays[key]
    return array


def rgb(content: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the first three channels of an image; further ones are left out.

    Raises:
        ImageError: there is no such array of bytes.
    """
    array = _array(content, IMAGE)
    if array.ndim != 3 or array.shape[2] < RGB or array.dtype != np.uint8 or not array.size:
        raise ImageError(
            f"{IMAGE!r} is {_described(array)}; expected height × width × 3 or more of uint8"
        )
    return np.ascontiguousarray(array[..., :RGB]).astype(np.uint8)


def ids(content: bytes) -> NDArray[np.int32]:
    """(H, W) int32 label values.

    Raises:
        ImageError: there is no such array of whole numbers.
    """
    array = _array(content, LABEL)
    numbers = array.dtype.kind in "iubf"
    whole = numbers and bool((array.astype(np.float64) % 1 == 0).all())
    if array.ndim != 2 or not whole or not array.size:
        raise ImageError(f"{LABEL!r} is {_described(array)}; expected height × width whole numbers")
    return array.astype(np.int32)


def _described(array: NDArray[np.generic]) -> str:
    return f"{' × '.join(map(str, array.shape))} of {array.dtype}"
