"""Writing in the background: files go to the store while the next one is being computed."""

from concurrent.futures import Future
from types import TracebackType

from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool

AT_ONCE = 4
"""Files that one worker writes at the same time; the next one waits, to bound the memory."""


class Uploads:
    """Writes files in the background; all of them are written when its block ends.

    Raises, at the next write or at the end of the block, what `Storage.write` raised.
    """

    def __init__(self, storage: Storage) -> None:
        """Write into this storage."""
        self.storage = storage
        self.pool = ContextThreadPool(AT_ONCE, thread_name_prefix="upload")
        self.running: list[Future[None]] = []

    def __enter__(self) -> "Uploads":
        """Ready to write."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Wait until everything is written."""
        self.pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            for future in self.running:
                future.result()

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file in the background."""
        while len(self.running) >= AT_ONCE:
            self.running.pop(0).result()
        self.running.append(self.pool.submit(self.storage.write, path, content))
