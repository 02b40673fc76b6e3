"""Files of torch.save: tensors of every kind, files that lie, and that nothing in them is run."""

import builtins
import importlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stego_core.errors import WeightsError
from tasks.features import checkpoint_file
from tasks.features.checkpoint_file import is_plain

STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
)
"""The opcodes for a storage of six floats in `data/0`."""
SIX = struct.pack("<6f", *range(6))


def saved(value: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    torch.save(value, sink, **options)
    return sink.getvalue()


def archive(pickled: bytes, entries: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """A zip in the form of torch.save's, written by hand."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", **options) as target:
        target.writestr("x/version", "3\n")
        target.writestr("x/data.pkl", pickled)
        for name, content in ({"x/data/0": SIX} if entries is None else entries).items():
            target.writestr(name, content)
    return sink.getvalue()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """A pickle of one view of that storage."""
    sizes, steps = (b"(" + b"".join(map(number, each)) + b"t" for each in (shape, strides))
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + number(offset)
        + sizes + steps + b"\x89}tR."
    )  # fmt: skip


class TestTensors:
    @pytest.mark.parametrize(
        "kind",
        [
            torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
            torch.int16, torch.int8, torch.uint8, torch.bool,
        ],
    )  # fmt: skip
    def test_of_every_kind(self, kind: torch.dtype) -> None:
        value = torch.tensor([[0.0, 1.0, 2.5], [3.25, 100.0, 5.0]]).to(kind)
        found = checkpoint_file.load(saved(value))
        assert is_plain(found)
        assert torch.equal(found, value)

    @pytest.mark.parametrize(
        "view",
        [
            lambda whole: whole.T,
            lambda whole: whole[1:, ::2],
            lambda whole: whole[2, 1],
            lambda whole: whole[:0],
            lambda whole: torch.nn.Parameter(whole[:, 1:]),
        ],
    )
    def test_of_every_view(self, view: Any) -> None:
        value = view(torch.arange(20.0).reshape(4, 5))
        found = checkpoint_file.load(saved(value))
        assert is_plain(found)
        assert torch.equal(found, value)

    def test_of_a_big_endian_machine(self) -> None:
        entries = {"x/data/0": struct.pack(">6f", *range(6)), "x/byteorder": b"big"}
        found = checkpoint_file.load(archive(tensor((6,), (1,)), entries))
        assert found.tolist() == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize(
        ("shape", "strides", "offset"),
        [
            ((7,), (1,), 0), ((6,), (1,), 1), ((2, 3), (4, 1), 0), ((1,), (1,), 6),
            ((2, 3), (3, 2**40), 0), ((-1,), (1,), 0), ((6,), (-1,), 5), ((6,), (1,), -1),
        ],
    )  # fmt: skip
    def test_views_beyond_their_storage(
        self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> None:
        with pytest.raises(WeightsError, match="it cannot be read"):
            checkpoint_file.load(archive(tensor(shape, strides, offset)))

    @pytest.mark.parametrize("size", [0, 23, 25, 4096])
    def test_a_storage_of_another_size(self, size: int) -> None:
        with pytest.raises(WeightsError, match=rf"record size \({size} bytes\) does not match"):
            checkpoint_file.load(archive(tensor((6,), (1,)), {"x/data/0": bytes(size)}))

    def test_a_storage_that_is_not_there(self) -> None:
        with pytest.raises(WeightsError, match="failed locating file data/0"):
            checkpoint_file.load(archive(tensor((6,), (1,)), {}))

    @pytest.mark.parametrize(
        "value",
        [
            torch.zeros(2, dtype=torch.complex64),
            torch.eye(2).to_sparse(),
            torch.zeros(2, device="meta"),
            torch.Size([1]),
            3.0,
        ],
    )
    def test_others_are_not_plain(self, value: Any) -> None:
        assert not is_plain(checkpoint_file.load(saved(value)))


class TestArchives:
    def test_old_files_without_foreign_objects(self) -> None:
        value = {"a": torch.ones(2), "args": Namespace(arch="vit")}
        old = saved(value, _use_new_zipfile_serialization=False)
        assert torch.equal(checkpoint_file.load(old)["a"], value["a"])

    @pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04nothing"])
    def test_no_archive(self, content: bytes) -> None:
        with pytest.raises(WeightsError, match=r"no zip archive, which torch.save writes since"):
            checkpoint_file.load(content)

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
    def test_cut_short(self, share: float) -> None:
        whole = saved(torch.arange(1000.0))
        with pytest.raises(WeightsError, match="cut short"):
            checkpoint_file.load(whole[: int(share * len(whole))])

    def test_flipped_bits_are_found(self) -> None:
        content = bytearray(saved(torch.arange(1000.0)))
        content[content.index(struct.pack("<4f", 500, 501, 502, 503))] ^= 1
        with pytest.raises(WeightsError, match="entry 'archive/data/0' is damaged"):
            checkpoint_file.load(bytes(content))

    def test_what_grows_beyond_the_file_is_not_unpacked(self) -> None:
        bomb = archive(b"N.", {"x/data/0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
        with pytest.raises(WeightsError, match="larger unpacked than the file"):
            checkpoint_file.load(bomb)

    @pytest.mark.parametrize(
        "identity",
        [
            ("storage", torch.FloatStorage, "../../etc/passwd", "cpu", 1),
            ("storage", torch.FloatStorage, "0", "cpu", -1),
            ("storage", "torch.FloatStorage", "0", "cpu", 1),
            ("module", torch.FloatStorage, "0", "cpu", 1),
            "file:///etc/passwd",
        ],
    )
    def test_persistent_ids_that_are_no_storage(self, identity: Any) -> None:
        pickled = pickle.dumps(identity, 2)[:-1] + b"Q."
        with pytest.raises(WeightsError, match="it cannot be read"):
            checkpoint_file.load(archive(pickled))

    @pytest.mark.parametrize("protocol", [4, 5])
    def test_what_to_do_about_other_protocols_is_said(self, protocol: int) -> None:
        with pytest.raises(WeightsError, match=r"the default protocol of torch\.save \(2\)"):
            checkpoint_file.load(saved({"a": torch.zeros(2)}, pickle_protocol=protocol))

    @pytest.mark.parametrize(
        "pickled",
        [
            b"", b"\x80\x02", b"\x80\x02.", b"\x80\x02h\x05.", b"\x80\x02K\x01u.", b"\xff\xff",
            b"\x80\x02X\xff\xff\xff\x7fabc.", b"\x80\x02\x82\x01.", b"\x80\x05\x97.",
            b"\x80\x02X\x01\x00\x00\x00x)R.", b"\x80\x02]}b.", b"\x80\x02K\x01K\x02s.",
            b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
            b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.",
        ],
    )  # fmt: skip
    def test_damage_is_one_sentence(self, pickled: bytes) -> None:
        with pytest.raises(WeightsError) as refused:
            checkpoint_file.load(archive(pickled))
        assert "\n" not in str(refused.value)


class Settings:
    """An object of a class of the user's own."""

    def __init__(self) -> None:
        self.rate = 3

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("it was run")


class Options(dict):  # type: ignore[type-arg]  # as Lightning's AttributeDict
    """A dictionary of a class of the user's own."""


class TestStandIns:
    def test_hold_entries_and_attributes(self) -> None:
        found = checkpoint_file.load(saved({"mine": Settings(), "named": Options(a=1)}))
        assert vars(found["mine"]) == {"rate": 3}
        assert found["named"] == {"a": 1}
        assert type(found["named"]) is OrderedDict

    def test_of_containers(self) -> None:
        value = {
            "seen": deque([1, 2], maxlen=3), "lists": defaultdict(list, {1: [2]}), "sizes": {3, 4},
            "counts": Counter("aab"), "bytes": b"abc", "class": Settings,
        }  # fmt: skip
        found = checkpoint_file.load(saved(value))
        assert found["seen"] == [1, 2]
        assert {name: found[name] for name in ("lists", "sizes", "counts", "bytes")} == {
            "lists": {1: [2]}, "sizes": {3, 4}, "counts": {"a": 2, "b": 1}, "bytes": b"abc",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "value",
        [
            np.float64(3), np.arange(5.0), np.array(["text"]), np.array([1, None], object),
            np.dtype("f4"), np.random.default_rng(0), np.random.RandomState(0),
        ],
    )  # fmt: skip
    def test_numpy_beside_weights(self, value: Any) -> None:
        found = checkpoint_file.load(saved({"state_dict": {"a": torch.ones(2)}, "other": value}))
        assert torch.equal(found["state_dict"]["a"], torch.ones(2))

    def test_nothing_of_the_name_is_imported(self) -> None:
        sys.modules.pop("antigravity", None)
        checkpoint_file.load(archive(b"\x80\x02cantigravity\nFly\n)\x81."))
        assert "antigravity" not in sys.modules

    def test_names_are_forgotten_afterwards(self) -> None:
        content = saved(Settings())
        checkpoint_file.load(content)
        with pytest.raises(pickle.UnpicklingError):
            torch.load(io.BytesIO(content), weights_only=True)


class Evil:
    """Runs a function when Python's own unpickler reads it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def evils(marker: Path) -> dict[str, Any]:
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "posix.system": Evil(os.system, f"touch {marker}"),
        "eval": Evil(eval, touch),
        "exec": Evil(exec, touch),
        "open": Evil(open, str(marker), "w"),
        "getattr": Evil(getattr, Evil(importlib.import_module, "os"), "system"),
        "import_module": Evil(importlib.import_module, "antigravity"),
        "Popen": Evil(subprocess.Popen, ["touch", str(marker)]),
        "map": [{"deep": (Evil(builtins.map, eval, [touch]),)}],
    }


class TestEvil:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("name", evils(Path("x")))
    def test_is_refused_or_inert(
        self, name: str, protocol: int, zipped: bool, tmp_path: Path
    ) -> None:
        sys.modules.pop("antigravity", None)
        marker = tmp_path / "ran"
        content = saved(
            evils(marker)[name], pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
        )
        if zipped and protocol <= 3 and name != "posix.system":
            inert = [{"deep": ({},)}] if name == "map" else {}
            assert checkpoint_file.load(content) == inert
        else:
            with pytest.raises(WeightsError):
                checkpoint_file.load(content)
        assert not marker.exists()
        assert "antigravity" not in sys.modules

    def test_the_same_bytes_do_harm_elsewhere(self, tmp_path: Path) -> None:
        torch.load(io.BytesIO(saved(evils(tmp_path / "ran")["exec"])), weights_only=False)
        assert (tmp_path / "ran").exists()

    @pytest.mark.parametrize("name", ["os\nsystem", "posix\nsystem", "nt\nsystem", "sys\nexit"])
    def test_names_of_the_operating_system(self, name: str) -> None:
        with pytest.raises(WeightsError, match=f"it names '{name}'".replace("\n", ".")):
            checkpoint_file.load(archive(b"\x80\x02c" + name.encode() + b"\n."))

    def test_a_name_cannot_write_to_the_terminal(self) -> None:
        with pytest.raises(WeightsError) as refused:
            checkpoint_file.load(archive(b"\x80\x02cos\n\x1b[31mx\n."))
        assert "\x1b" not in str(refused.value)
