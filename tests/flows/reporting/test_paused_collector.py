"""The collector is back after a block, however that ends; a block within another has no effect."""

import gc
import sys

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


def test_what_was_imported_is_passed_over_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = gc.get_freeze_count()
    with paused():
        pass
    assert gc.get_freeze_count() == before
    with paused():
        import colorsys
    assert gc.get_freeze_count() > before
    assert not any(each is colorsys.__dict__ for each in gc.get_objects())
    gc.unfreeze()
