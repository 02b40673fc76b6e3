"""Errors of a clip: whose they are decides what is raised."""

import io

import pytest

from stego_core.errors import ImageError, InputError
from tasks.video.clip_errors import WatchedFile, image_errors


class Unreachable(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise ConnectionError("the network is away")


def test_an_error_of_the_file_is_raised_instead_of_ffmpegs() -> None:
    file = WatchedFile(Unreachable())
    with pytest.raises(ConnectionError):
        file.read(4)
    with pytest.raises(ConnectionError, match="the network"), image_errors(file, lambda: "-"):
        raise ValueError("Invalid data found")  # as FFmpeg reports it


def test_other_errors_are_the_clips() -> None:
    file = WatchedFile(io.BytesIO(b"abcd"))
    file.seek(2)
    assert (file.read(1), file.tell()) == (b"c", 3)
    message = "^it cannot be decoded: Invalid data found$"
    with (
        pytest.raises(ImageError, match=message),
        image_errors(file, lambda: "it cannot be decoded"),
    ):
        raise ValueError("Invalid  data\nfound")


def test_own_errors_pass() -> None:
    file = WatchedFile(io.BytesIO())
    with pytest.raises(InputError, match="mine"), image_errors(file, lambda: "-"):
        raise InputError("mine")
