"""Pickles as data: what plain ones hold, and that nothing which a file names is ever run."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stego_core.errors import WeightsError
from tasks.pickles import Name, Placeholder, Vocabulary, read


def refuse(name: Name) -> None:
    if not (name.module.startswith("config") and name.name[0].isupper()):
        raise WeightsError(f"it names {str(name)!a}")


def stored(identity: Any) -> Any:
    raise ValueError(f"no {identity}")


WORDS = Vocabulary({"collections.OrderedDict": lambda arguments: {}}, refuse, stored)

plain = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text()
    | some.binary(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text() | some.integers(), inner)
    | some.tuples(inner, inner),
)  # fmt: skip


class TestPlain:
    @given(plain, some.integers(3, pickle.HIGHEST_PROTOCOL))
    def test_values_are_what_python_reads(self, value: Any, protocol: int) -> None:
        assert read(pickle.dumps(value, protocol), WORDS) == value

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_of_every_protocol(self, protocol: int) -> None:
        value = {"a": [1, 2.5, None, True, -(2**70)], "ü\n": ((), (1,), (1, 2), (1, 2, 3, 4))}
        value["self"] = [value["a"], value["a"]]
        found = read(pickle.dumps(value, protocol), WORDS)
        assert found == value
        assert found["self"][0] is found["a"]

    def test_sets_are_lists(self) -> None:
        assert sorted(read(pickle.dumps({3, 1}, 4), WORDS)) == [1, 3]
        assert sorted(read(pickle.dumps(frozenset({3, 1}), 4), WORDS)) == [1, 3]

    def test_a_value_may_hold_itself(self) -> None:
        value: list[Any] = []
        value.append(value)
        found = read(pickle.dumps(value), WORDS)
        assert found[0] is found

    def test_keys_that_would_have_to_be_hashed_through_are_left_out(self) -> None:
        """Hashing sixty tuples of the one before, twice, would never end."""
        deep = b")" + b"\x94" + b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(60))
        assert read(b"\x80\x04}" + deep + b"Ns.", WORDS) == {}

    def test_a_memo_of_four_thousand_million_places_costs_one(self) -> None:
        assert read(b"\x80\x02K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.", WORDS) == 5


class TestPlaceholders:
    def test_hold_what_the_file_put_into_them(self) -> None:
        content = (
            b"\x80\x02cconfig.nodes\nNode\n)\x81}X\x04\x00\x00\x00_valK\x07sb"
            b"(X\x01\x00\x00\x00kK\x08u(K\x09e."
        )
        found = read(content, WORDS)
        assert isinstance(found, Placeholder)
        assert found.name == Name("config.nodes", "Node")
        assert (found.state, found.entries, found.items) == ({"_val": 7}, {"k": 8}, [9])

    @pytest.mark.parametrize(
        "content",
        [
            b"\x80\x02cconfig\nNode\nK\x01K\x02\x86R.",  # REDUCE
            b"\x80\x02cconfig\nNode\nK\x01K\x02\x86\x81.",  # NEWOBJ
            b"\x80\x04cconfig\nNode\nK\x01K\x02\x86}\x92.",  # NEWOBJ_EX
            b"\x80\x04\x8c\x06config\x8c\x04Node\x93K\x01K\x02\x86R.",  # STACK_GLOBAL
            b"(I1\nI2\niconfig\nNode\n.",  # INST
            b"(cconfig\nNode\nI1\nI2\no.",  # OBJ
        ],
    )
    def test_however_they_are_made(self, content: bytes) -> None:
        found = read(content, WORDS)
        assert (str(found.name), found.arguments) == ("config.Node", (1, 2))

    def test_of_a_state_dict_only_the_entries_stay(self) -> None:
        content = b"\x80\x02ccollections\nOrderedDict\n)RX\x01\x00\x00\x00aK\x01s}b."
        assert read(content, WORDS) == {"a": 1}


class Evil:
    """Runs a function when Python's own unpickler reads it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def evils(marker: Path) -> dict[str, Any]:
    import builtins
    import importlib
    import os
    import subprocess

    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "posix.system": Evil(os.system, f"touch {marker}"),
        "builtins.eval": Evil(eval, touch),
        "builtins.exec": Evil(exec, touch),
        "_?io.open": Evil(open, str(marker), "w"),
        "builtins.getattr": Evil(getattr, Evil(importlib.import_module, "os"), "system"),
        "importlib.import_module": Evil(importlib.import_module, "antigravity"),
        "subprocess.Popen": Evil(subprocess.Popen, ["touch", str(marker)]),
        "builtins.map": [{"deep": (Evil(builtins.map, eval, [touch]),)}],
    }


class TestEvil:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("name", evils(Path("x")))
    def test_is_refused_by_name(self, name: str, protocol: int, tmp_path: Path) -> None:
        marker = tmp_path / "ran"
        content = pickle.dumps(evils(marker)[name], protocol)
        named = {"builtins.getattr": "builtins.getattr|importlib.import_module"}.get(name, name)
        with pytest.raises(WeightsError, match=f"it names '({named})'"):
            read(content, WORDS)
        assert not marker.exists()

    def test_the_same_bytes_do_harm_elsewhere(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"
        pickle.loads(pickle.dumps(evils(marker)["builtins.exec"]))  # noqa: S301
        assert marker.exists()

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"(S'true'\nios\nsystem\n.", "names 'os.system'"),
            (b"(cos\nsystem\nS'true'\no.", "names 'os.system'"),
            (b"\x80\x04\x8c\x06config\x8c\x09os.system\x93.", "names 'config.os.system'"),
            (b"\x80\x02cconfig.utils\nload\n.", "names 'config.utils.load'"),
            (b"\x80\x02csubprocess\nPopen\n)\x81.", "names 'subprocess.Popen'"),
            (b"\x80\x02c__builtin__\neval\n.", "names 'builtins.eval'"),
            (b"\x80\x02\x82\x01.", "EXT1"),
            (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
            (b"\x80\x05\x97.", "NEXT_BUFFER"),
            (b"Pfile:///etc/passwd\n.", "PERSID"),
            (b"\x80\x02X\x01\x00\x00\x00xQ.", "damaged"),
            (b"\x80\x02X\x01\x00\x00\x00x)R.", "calls what is no name"),
            (b"\x80\x02cconfig\nNode\n]R.", "calls what is no name"),
            (b"\x80\x02cconfig\nNode\n)R)R.", "calls what is no name"),
            (b"\x80\x02cconfig\nNode\n}b.", "gives attributes to what has none"),
            (b"\x80\x02]}b.", "gives attributes to what has none"),
            (b"\x80\x02cconfig\nNode\nK\x01a.", "appended to what is no list"),
            (b"\x80\x02]K\x01K\x02s.", "put into what is no dictionary"),
            (b"\x80\x02(K\x01K\x02K\x03d.", "put into what is no dictionary"),
            (b"\x80\x04K\x01K\x02\x93.", "a name is no text"),
        ],
    )  # fmt: skip
    def test_opcodes_that_could_reach_further(self, content: bytes, expected: str) -> None:
        with pytest.raises(WeightsError, match=expected):
            read(content, WORDS)

    def test_a_name_cannot_write_to_the_terminal(self) -> None:
        with pytest.raises(WeightsError) as refused:
            read(b"\x80\x04\x8c\x02os\x8c\x06\x1b[31mx\x93.", WORDS)
        assert "\x1b" not in str(refused.value)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x80\x02",
            b".",
            b"0.",
            b"1.",
            b"\x80\x02h\x05.",
            b"\x80\x02K\x01u.",
            b"\xff\xff",
            b"not a pickle",
            b"X\xff\xff\xff\x7fabc.",
            b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",
            b"I" + b"9" * 5000 + b"\n.",
        ],
    )
    def test_damage_is_one_sentence(self, content: bytes) -> None:
        with pytest.raises(WeightsError, match="its pickle is damaged"):
            read(content, WORDS)
