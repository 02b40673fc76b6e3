"""K of a run: what is requested, else the taxonomy's classes, else the default."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.runs import class_count
from stego_core.errors import StegoError
from tasks.options import ClustersOptions


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Any:
    """K for dumps with so many classes in their taxonomies; None for a dump without one."""

    def of(classes: dict[str, int | None], /, **options: Any) -> Any:
        def reader(_: Any, dump: str) -> Any:
            named = classes[dump]
            taxonomy = None if named is None else {"classes": [f"c{i}" for i in range(named)]}
            return SimpleNamespace(manifest={"taxonomy": taxonomy})

        monkeypatch.setattr(class_count, "IndexReader", reader)
        workspace: Any = None
        made = class_count.with_classes(workspace, list(classes), ClustersOptions(**options))
        return made.classes

    return of


def test_what_is_requested_wins(count: Any) -> None:
    assert count({"a": 5}, classes=9) == 9
    assert count({"a": 5}, classes="auto") == "auto"


def test_the_first_taxonomy_says_how_many(count: Any) -> None:
    assert count({"a": None, "b": 5, "c": 7}) == 5


def test_without_a_taxonomy_it_is_the_default(count: Any) -> None:
    assert count({"a": None}) == class_count.DEFAULT_CLASSES


def test_one_class_would_separate_nothing(count: Any) -> None:
    assert count({"a": 1}) == class_count.LEAST_CLASSES


def test_a_taxonomy_of_too_many_is_refused(count: Any) -> None:
    with pytest.raises(StegoError, match="the taxonomy of dump a"):
        count({"a": 300})
