"""K of a run: what is requested, else the taxonomies' classes, else the default."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.runs import class_count
from stego_core.errors import StegoError
from tasks.options import LEAST_CLASSES, ClustersOptions


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Any:
    """K for dumps with these classes in their taxonomies, or so many; None for one without."""

    def of(classes: dict[str, list[str] | int | None], /, **options: Any) -> Any:
        def reader(_: Any, dump: str) -> Any:
            named = classes[dump]
            names = [f"c{i}" for i in range(named)] if isinstance(named, int) else named
            taxonomy = None if names is None else {"classes": names}
            return SimpleNamespace(manifest={"taxonomy": taxonomy})

        monkeypatch.setattr(class_count, "IndexReader", reader)
        workspace: Any = None
        made = class_count.with_classes(workspace, list(classes), ClustersOptions(**options))
        return made.classes

    return of


def test_what_is_requested_wins(count: Any) -> None:
    assert count({"a": 5}, classes=9) == 9
    assert count({"a": 5}, classes="auto") == "auto"


def test_a_taxonomy_says_how_many(count: Any) -> None:
    assert count({"a": None, "b": 5}) == 5


def test_the_classes_of_dumps_with_one_taxonomy_are_counted_once(count: Any) -> None:
    assert count({"a": 5, "b": 5}) == 5


def test_classes_of_other_names_are_added(count: Any) -> None:
    assert count({"a": 5, "b": 7}) == 7  # c0 to c4 are in both
    assert count({"a": ["sky", "tree"], "b": None, "c": ["skin", "hair", "sky"]}) == 4


def test_names_that_a_taxonomy_has_twice_are_two_classes(count: Any) -> None:
    assert count({"a": ["other", "other", "sky"]}) == 3


def test_without_a_taxonomy_it_is_the_default(count: Any) -> None:
    assert count({"a": None}) == class_count.DEFAULT_CLASSES


def test_one_class_would_separate_nothing(count: Any) -> None:
    assert count({"a": 1}) == LEAST_CLASSES


def test_a_taxonomy_of_too_many_is_refused(count: Any) -> None:
    with pytest.raises(StegoError, match="the taxonomy of dump a has 300 classes"):
        count({"a": 300})
    with pytest.raises(StegoError, match="dump b, with those of the dumps before it, has 260"):
        count({"a": 200, "b": [f"d{i}" for i in range(60)]})
