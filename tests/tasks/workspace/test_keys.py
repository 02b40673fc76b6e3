"""Keys: equal documents have equal keys, and nothing can change unnoticed."""

import hashlib
import json
import random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tasks import options
from tasks.workspace.keys import KEY_LENGTH, canonical, digest, key

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
MODELS = [
    options.CorpusOptions(images="a"),
    options.FeaturesOptions(),
    options.NeighborsOptions(),
    options.HeadOptions(),
    options.ClustersOptions(),
    options.MasksOptions(),
    options.ScoresOptions(),
]


class Sample(BaseModel):
    """Options that no stage has, so that no stage's changes reach the test."""

    rate: float = 5e-4
    classes: int | None = None


def shuffled(document: Any, order: random.Random) -> Any:
    """The same document with its dictionaries filled in another order."""
    if isinstance(document, dict):
        items = [(name, shuffled(value, order)) for name, value in document.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(document, list):
        return [shuffled(value, order) for value in document]
    return document


def members(annotation: Any) -> list[Any]:
    """What an annotation is made of: types, and the values of literals."""
    parts = get_args(annotation)
    return [leaf for part in parts for leaf in members(part)] if parts else [annotation]


def others(model: BaseModel, name: str) -> list[Any]:
    """Other values of an option: the next number, the other choice, another word."""
    value = getattr(model, name)
    parts = members(type(model).model_fields[name].annotation)
    choices = [choice for choice in parts if isinstance(choice, str)]
    candidates: list[Any]
    if choices:
        candidates = choices
    elif isinstance(value, bool):
        candidates = [not value]
    elif isinstance(value, int):
        candidates = [value + 1]
    elif isinstance(value, float):
        candidates = [value * 1.001]
    elif float in parts:
        candidates = [1.5]
    else:
        candidates = [7] if int in parts else ["7,8" if name == "value_range" else "7,8,9"]
    return [candidate for candidate in candidates if candidate != value]


class TestCanonical:
    @given(DOCUMENTS, st.integers(0, 99))
    def test_order_of_entries_does_not_matter(self, document: Any, seed: int) -> None:
        assert canonical(shuffled(document, random.Random(seed))) == canonical(document)

    @given(DOCUMENTS)
    def test_says_all_of_the_document(self, document: Any) -> None:
        assert json.loads(canonical(document)) == document

    def test_is_compact_ascii(self) -> None:
        assert canonical({"b": [1, "é"], "a": None}) == b'{"a":null,"b":[1,"\\u00e9"]}'

    def test_order_of_a_list_matters(self) -> None:
        assert canonical([1, 2]) != canonical([2, 1])


class TestDigest:
    def test_is_blake2b(self) -> None:
        # b2sum -l 128 of an empty file
        assert digest(b"") == "cae66941d9efbd404e4d88758ea67670"

    @given(st.binary(max_size=64), st.binary(max_size=64))
    def test_differs_with_the_bytes(self, a: bytes, b: bytes) -> None:
        assert (digest(a) == digest(b)) == (a == b)


class TestKey:
    def test_is_the_same_on_every_machine_and_day(self) -> None:
        # pinned: a change here orphans every workspace in the world
        made = key("clusters", 1, Sample(), {"b": 1, "a": "x"})
        document = b'["clusters",1,{"classes":null,"rate":0.0005},{"a":"x","b":1}]'
        assert made == hashlib.blake2b(document, digest_size=16).hexdigest()[:16]

    def test_shape(self) -> None:
        made = key("corpus", 1, None, [])
        assert len(made) == KEY_LENGTH
        assert set(made) <= set("0123456789abcdef")

    @pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
    def test_changes_with_every_option(self, model: BaseModel) -> None:
        made = {key("s", 1, model, [])}
        count = 1
        for name in type(model).model_fields:
            for value in others(model, name):
                changed = type(model).model_validate({**model.model_dump(), name: value})
                made.add(key("s", 1, changed, []))
                count += 1
        assert count > len(type(model).model_fields)
        assert len(made) == count

    def test_changes_with_stage_version_and_inputs(self) -> None:
        model = options.NeighborsOptions()
        made = [
            key("neighbors", 1, model, ["a", "b"]),
            key("head", 1, model, ["a", "b"]),
            key("neighbors", 2, model, ["a", "b"]),
            key("neighbors", 1, model, ["a", "c"]),
            key("neighbors", 1, model, ["b", "a"]),
            key("neighbors", 1, model, ["a"]),
            key("neighbors", 1, model, ["ab"]),
            key("neighbors", 1, None, ["a", "b"]),
        ]
        assert len(set(made)) == len(made)

    def test_defaults_given_or_not_are_the_same(self) -> None:
        named = options.HeadOptions(steps=400, seed=0)
        assert key("head", 1, named, []) == key("head", 1, options.HeadOptions(), [])
