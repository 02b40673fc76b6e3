"""The collector is back after a block, however that ends; a block within another has no effect."""

import gc

import pytest

from flows.reporting.paused_collector import paused


def test_it_is_back_after_the_outermost_block() -> None:
    with paused():
        assert not gc.isenabled()
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_back_after_an_error() -> None:
    with pytest.raises(ImportError), paused():
        raise ImportError
    assert gc.isenabled()


def test_where_somebody_switched_it_off_it_stays_so() -> None:
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
