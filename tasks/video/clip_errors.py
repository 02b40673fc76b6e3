"""Errors of a clip: FFmpeg's become one sentence, those of its file stay what they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from stego_core.errors import ImageError, StegoError


class WatchedFile:
    """A file that keeps the error of a failed read: FFmpeg's own errors look alike.

    Attributes:
        error: of the last read that failed, None before one did.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Watch this file."""
        self.file = file
        self.tell = file.tell
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As of any file."""
        with self._watched():
            return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        with self._watched():
            return self.file.seek(offset, whence)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def image_errors(source: WatchedFile, message: Callable[[], str]) -> Iterator[None]:
    """Turn FFmpeg's errors into an ImageError; an error of the file itself is raised as it is.

    Raises:
        ImageError: the clip is broken; `message` says what could not be done.
    """
    try:
        yield
    except StegoError:
        raise
    except Exception as error:
        if source.error is not None:
            raise source.error from None
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ImageError(f"{message()}: {reason or type(error).__name__}") from None
