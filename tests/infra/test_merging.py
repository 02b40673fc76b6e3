"""Three-way merge of settings, on the loaded module of infra/prefect."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "infra" / "prefect"))
from merging import merged

OLD, NEW, MINE = {"a": 1, "t": {"b": 2}}, {"a": 5, "t": {"b": 2}}, {"a": 9, "t": {"b": 2}}


class TestMerged:
    def test_the_same_everywhere(self) -> None:
        assert merged(OLD, OLD, OLD) == (OLD, [], [])

    def test_the_file_changed(self) -> None:
        assert merged(NEW, OLD, OLD) == (NEW, ["a 1 → 5"], [])

    def test_a_person_changed(self) -> None:
        assert merged(OLD, OLD, MINE) == (MINE, [], ["a 9 (the file: 1)"])

    def test_both_changed(self) -> None:
        assert merged(NEW, OLD, MINE) == (MINE, [], ["a 9 (the file: 5)"])
        assert merged(NEW, OLD, MINE, file_wins=True) == (NEW, ["a 9 → 5"], [])

    def test_both_agree(self) -> None:
        assert merged(NEW, OLD, NEW) == (NEW, [], [])

    def test_nothing_is_known_of_the_last_deploy(self) -> None:
        assert merged(NEW, {}, MINE).values == MINE

    def test_the_file_dropped_what_it_had_set(self) -> None:
        found = merged({"a": 1}, OLD, OLD, file_wins=True)
        assert found == ({"a": 1}, ["t.b 2 → (nothing)"], [])

    def test_a_person_added(self) -> None:
        more = {**OLD, "t": {"b": 2, "mine": [3]}}
        assert merged(OLD, OLD, more, file_wins=True) == (more, [], ["t.mine [3]"])

    def test_a_person_removed(self) -> None:
        found = merged(OLD, OLD, {"a": 1})
        assert found.values == {"a": 1}
        assert found.kept == ["t.b (nothing) (the file: 2)"]

    @pytest.mark.parametrize("value", [None, {}, [], False, ""])
    def test_empty_values_are_values(self, value: object) -> None:
        assert merged({"a": value}, {"a": 1}, {"a": 1}).values == {"a": value}

    def test_a_table_takes_the_place_of_a_value(self) -> None:
        found = merged({"a": {"b": 1}}, {"a": 3}, {"a": 3})
        assert found.values == {"a": {"b": 1}}
