"""A stop ends the threads that work for a run, not the thread that got the signal."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from stego_core.errors import StoppedError
from tasks.engine import stop


def check_elsewhere() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stop.check).result()


def end_by(error: BaseException) -> None:
    with suppress(BaseException), stop.on_request():
        raise error


def test_nothing_was_requested() -> None:
    with stop.on_request():
        check_elsewhere()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_other_threads_end(error: BaseException) -> None:
    end_by(error)
    with pytest.raises(StoppedError, match="run the same command again"):
        check_elsewhere()
    stop.check()  # the main thread was told by the signal itself
    with stop.on_request():
        check_elsewhere()


def test_an_ordinary_error_stops_nobody_else() -> None:
    with stop.on_request():
        pass
    end_by(ValueError("a defect"))
    check_elsewhere()


def test_what_ends_the_block_is_raised() -> None:
    with pytest.raises(KeyboardInterrupt), stop.on_request():
        raise KeyboardInterrupt
    with stop.on_request():
        pass
