"""Archives of torch.save, read without it: tensors of every kind, and archives that lie."""

import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

from stego_core.errors import WeightsError
from tasks.pickles import Placeholder
from tasks.torchfile import TensorReference, TorchFile

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


def only(content: bytes) -> np.ndarray:
    """The one tensor of an archive."""
    file = TorchFile(content)
    assert isinstance(file.document, TensorReference)
    return file.tensor(file.document)


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
        found = only(saved(value))
        assert found.dtype == np.float32
        assert np.array_equal(found, value.float().numpy())

    @pytest.mark.parametrize(
        "view",
        [
            lambda whole: whole.T,
            lambda whole: whole[1:, ::2],
            lambda whole: whole[2],
            lambda whole: whole[2, 1],
            lambda whole: whole[:0],
            lambda whole: whole.reshape(2, 2, 5).permute(2, 0, 1),
            lambda whole: torch.nn.Parameter(whole[:, 1:]),
        ],
    )
    def test_of_every_view(self, view: Any) -> None:
        value = view(torch.arange(20.0).reshape(4, 5))
        found = only(saved(value))
        assert found.shape == tuple(value.shape)
        assert np.array_equal(found, value.detach().numpy())

    def test_of_a_big_endian_machine(self) -> None:
        entries = {"x/data/0": struct.pack(">6f", *range(6)), "x/byteorder": b"big"}
        assert only(archive(tensor((6,), (1,)), entries)).tolist() == [0, 1, 2, 3, 4, 5]

    def test_written_by_hand_as_torch_reads_it(self) -> None:
        content = archive(tensor((2, 2), (1, 2), 1), {"x/data/0": SIX, "x/version": b"3\n"})
        assert only(content).tolist() == torch.load(io.BytesIO(content)).tolist()

    @pytest.mark.parametrize(
        ("shape", "strides", "offset"),
        [
            ((7,), (1,), 0), ((6,), (1,), 1), ((2, 3), (4, 1), 0), ((1,), (1,), 6),
            ((2**40,), (0,), 0), ((2, 3), (3, 2**40), 0), ((3, 3), (1, 1), 0),
        ],
    )  # fmt: skip
    def test_views_beyond_their_storage(
        self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> None:
        with pytest.raises(WeightsError, match="does not fit into its storage of 6 elements"):
            only(archive(tensor(shape, strides, offset)))

    @pytest.mark.parametrize(
        ("shape", "strides", "offset"),
        [((-1,), (1,), 0), ((6,), (-1,), 5), ((6,), (1,), -1), ((6,), (), 0),
         ((1,) * 17, (1,) * 17, 0)],
    )  # fmt: skip
    def test_sizes_that_describe_nothing(
        self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> None:
        with pytest.raises(WeightsError, match="_rebuild_tensor_v2 with arguments that describe"):
            only(archive(tensor(shape, strides, offset)))

    @pytest.mark.parametrize("size", [0, 23, 25, 4096])
    def test_a_storage_of_another_size(self, size: int) -> None:
        with pytest.raises(WeightsError, match=f"data/0 has {size} bytes where 6 elements of 4"):
            only(archive(tensor((6,), (1,)), {"x/data/0": bytes(size)}))

    def test_a_storage_that_is_not_there(self) -> None:
        with pytest.raises(WeightsError, match="data/0 has none bytes"):
            only(archive(tensor((6,), (1,)), {}))

    def test_of_complex_numbers(self) -> None:
        with pytest.raises(WeightsError, match="a tensor of ComplexFloatStorage"):
            only(saved(torch.zeros(2, dtype=torch.complex64)))

    def test_what_is_no_plain_tensor_is_a_placeholder_or_refused(self) -> None:
        assert isinstance(TorchFile(saved(torch.Size([1]))).document, Placeholder)
        with pytest.raises(WeightsError, match=r"names 'torch._utils._rebuild_sparse_tensor'"):
            _ = TorchFile(saved(torch.eye(2).to_sparse())).document


class TestArchives:
    def test_of_old_files_what_to_do_is_said(self) -> None:
        old = saved({"a": torch.zeros(2)}, _use_new_zipfile_serialization=False)
        with pytest.raises(WeightsError, match=r"no zip archive, which torch.save writes since"):
            TorchFile(old)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
    def test_cut_short(self, share: float) -> None:
        whole = saved(torch.arange(1000.0))
        with pytest.raises(WeightsError, match="cut short"):
            TorchFile(whole[: int(share * len(whole))])

    def test_flipped_bits_are_found(self) -> None:
        content = bytearray(saved(torch.arange(1000.0)))
        content[content.index(struct.pack("<4f", 500, 501, 502, 503))] ^= 1
        with pytest.raises(WeightsError, match=r"damaged .*CRC"):
            only(bytes(content))

    def test_compressed_entries_may_grow_beyond_memory(self) -> None:
        packed = archive(tensor((6,), (1,)), compression=zipfile.ZIP_DEFLATED)
        with pytest.raises(WeightsError, match=r"'x/data\.pkl' is compressed or encrypted"):
            TorchFile(packed)

    @pytest.mark.parametrize("name", ["../outside", "x/../../outside", "/etc/passwd", "x\\..\\y"])
    def test_entries_outside(self, name: str) -> None:
        with pytest.raises(WeightsError, match="leaves the archive"):
            TorchFile(archive(b"N.", {name: b""}))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_an_entry_twice(self) -> None:
        with pytest.raises(WeightsError, match="names an entry twice"):
            TorchFile(archive(b"N.", {"x/data.pkl": b"K\x01."}))

    @pytest.mark.parametrize("entries", [{"y/data.pkl": b"N."}, {"y/z/data.pkl": b"N."}])
    def test_another_archive_beside_it(self, entries: dict[str, bytes]) -> None:
        if "y/data.pkl" in entries:
            with pytest.raises(WeightsError, match=r"no data\.pkl of its own"):
                TorchFile(archive(b"N.", entries))
        else:
            assert TorchFile(archive(b"N.", entries)).document is None

    @pytest.mark.parametrize(
        "identity",
        [
            ("storage", torch.FloatStorage, "../../etc/passwd", "cpu", 1),
            ("storage", torch.FloatStorage, "0", "cpu", -1),
            ("storage", torch.FloatStorage, 0, "cpu", 1),
            ("storage", "torch.FloatStorage", "0", "cpu", 1),
            ("storage", dict, "0", "cpu", 1),
            ("module", torch.FloatStorage, "0", "cpu", 1),
            ("storage", torch.FloatStorage, "0"),
            "file:///etc/passwd",
            7,
        ],
    )
    def test_persistent_ids_that_are_no_storage(self, identity: Any) -> None:
        pickled = pickle.dumps(identity, 2)[:-1] + b"Q."
        with pytest.raises(WeightsError, match="asks for something outside the archive"):
            _ = TorchFile(archive(pickled)).document


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            b"omegaconf.dictconfig\nDictConfig", b"pytorch_lightning.callbacks\nModelCheckpoint",
            b"lightning.pytorch.utilities\nAttributeDict", b"typing\nAny", b"pathlib\nPosixPath",
            b"torch\nfloat32", b"torch\nbfloat16", b"__builtin__\nunicode", b"__builtin__\ndict",
            b"numpy.core.multiarray\nscalar",
        ],
    )  # fmt: skip
    def test_of_training_tools_become_placeholders(self, name: bytes) -> None:
        content = b"\x80\x02c" + name + b"\nK\x01\x85R."
        found = TorchFile(archive(content)).document
        assert isinstance(found, Placeholder)
        assert found.arguments == (1,)

    @pytest.mark.parametrize(
        "name",
        [
            b"os\nsystem", b"torch\nload", b"torch.hub\nload", b"numpy\nload", b"torch\nos",
            b"omegaconf.utils\nimport_module", b"hydra.utils\ncall", b"omegaconfig\nDictConfig",
            b"my_lab.settings\nSettings", b"__main__\nConfig", b"functools\npartial",
            b"collections\nnamedtuple", b"builtins\n__import__", b"typing\nsys.modules",
        ],
    )  # fmt: skip
    def test_others_are_refused(self, name: bytes) -> None:
        shown = name.decode().replace("\n", ".")
        with pytest.raises(WeightsError, match=f"names '{shown}'"):
            _ = TorchFile(archive(b"\x80\x02c" + name + b"\n.")).document

    def test_of_packages_that_the_user_knows(self) -> None:
        content = archive(b"\x80\x02cmy_lab.settings\nSettings\n)\x81.")
        assert str(TorchFile(content, ["my_lab"]).document.name) == "my_lab.settings.Settings"

    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            (b"ccollections\nOrderedDict\nK\x01\x85R", "OrderedDict with arguments that are no"),
            (b"ccollections\nOrderedDict\n]K\x01a\x85R", "OrderedDict with arguments that are no"),
            (b"ccollections\ndefaultdict\nK\x01\x85R", "defaultdict with arguments that are no"),
            (b"ctorch._utils\n_rebuild_parameter\n)R", "_rebuild_parameter with arguments that"),
            (b"ccopy_reg\n_reconstructor\n)R", "_reconstructor with arguments that name no class"),
        ],
    )
    def test_known_ones_with_other_arguments(self, call: bytes, expected: str) -> None:
        with pytest.raises(WeightsError, match=expected):
            _ = TorchFile(archive(b"\x80\x02" + call + b".")).document
