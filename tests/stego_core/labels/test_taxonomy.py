"""Taxonomies: what is accepted, what is refused, and what stored values mean."""

from typing import Any

import numpy as np
import pytest

from stego_core.errors import InputError
from stego_core.labels.taxonomy import Taxonomy

NAMES = ["sky", "road", "car"]


def parsed(**keys: Any) -> Taxonomy:
    return Taxonomy.parse({"classes": NAMES, **keys})


class TestParse:
    def test_reads_every_key(self) -> None:
        document = {
            "name": "x",
            "classes": NAMES,
            "void": 9,
            "fine_to_coarse": [2, 0, -1],
            "first_class_id": 4,
            "first_stuff_class": 1,
        }
        assert Taxonomy.parse(document) == Taxonomy("x", tuple(NAMES), 9, (2, 0, -1), 4)

    def test_defaults(self) -> None:
        assert parsed() == Taxonomy("taxonomy", tuple(NAMES))

    @pytest.mark.parametrize("document", [None, [], "sky", {}, {"name": "x"}])
    def test_needs_classes(self, document: Any) -> None:
        with pytest.raises(InputError, match='JSON object with "classes"'):
            Taxonomy.parse(document)

    @pytest.mark.parametrize("classes", [[], [1, 2], ["sky", None], "sky", 3, {"sky": 0}, None])
    def test_classes_are_a_list_of_names(self, classes: Any) -> None:
        with pytest.raises(InputError, match="list of names"):
            Taxonomy.parse({"classes": classes})

    def test_unknown_keys_are_named(self) -> None:
        with pytest.raises(InputError, match=r"unknown keys \['clases', 'viod'\]; expected .*void"):
            parsed(viod=3, clases=[])

    @pytest.mark.parametrize("table", [[0, 3], [-2], ["sky"], [0.5], 3, "012"])
    def test_table_holds_classes_that_exist(self, table: Any) -> None:
        with pytest.raises(InputError, match=r"fine_to_coarse.*0 to 2"):
            parsed(fine_to_coarse=table)

    @pytest.mark.parametrize("key", ["void", "first_class_id"])
    @pytest.mark.parametrize("value", ["1", 1.5, True])
    def test_ids_are_whole_numbers(self, key: str, value: Any) -> None:
        with pytest.raises(InputError, match=f'"{key}" must be a whole number; found {value!r}'):
            parsed(**{key: value})


class TestApply:
    def check(self, taxonomy: Taxonomy, stored: list[int], ids: list[int]) -> None:
        found = taxonomy.apply(np.array([stored], np.uint8))
        assert found.dtype == np.int16
        assert found.tolist() == [ids]

    def test_values_are_ids_and_255_is_void(self) -> None:
        self.check(parsed(), [0, 2, 255, 1], [0, 2, -1, 1])

    def test_own_void_adds_to_255(self) -> None:
        self.check(parsed(void=1), [0, 1, 255, 2], [0, -1, -1, 2])

    def test_ids_start_at_the_first_class(self) -> None:
        self.check(parsed(first_class_id=7), [0, 6, 7, 9, 255], [-1, -1, 0, 2, -1])

    def test_negative_values_below_the_first_class_are_void(self) -> None:
        assert parsed(first_class_id=7).apply(np.array([[-1, 8]])).tolist() == [[-1, 1]]

    def test_fine_values_become_coarse(self) -> None:
        table = parsed(fine_to_coarse=[2, 2, 0, -1])
        self.check(table, [0, 1, 2, 3, 255], [2, 2, 0, -1, -1])

    def test_void_wins_over_the_table(self) -> None:
        self.check(parsed(fine_to_coarse=[2, 1, 0], void=1), [0, 1, 2], [2, -1, 0])

    def test_numbered_taxonomy(self) -> None:
        taxonomy = Taxonomy.numbered(2)
        assert taxonomy.classes == ("class 0", "class 1")
        self.check(taxonomy, [1, 255, 0], [1, -1, 0])

    def test_stored_image_is_left_alone(self) -> None:
        stored = np.array([[7, 255]], np.uint8)
        parsed(first_class_id=7).apply(stored)
        assert stored.tolist() == [[7, 255]]

    @pytest.mark.parametrize(
        ("keys", "stored", "message"),
        [
            ({}, [0, 3, 8, 3], r"\[3, 8\].*'taxonomy'.*0 to 2 and void 255"),
            ({"void": 11}, [12, 11], r"\[12\].*0 to 2 and void 11"),
            ({"first_class_id": 7}, [10], r"\[10\].*7 to 9"),
            ({"fine_to_coarse": [0] * 5}, [5], r"\[5\].*0 to 4"),
        ],
    )
    def test_values_without_a_class_are_listed(
        self, keys: dict[str, Any], stored: list[int], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            parsed(**keys).apply(np.array([stored], np.uint8))
