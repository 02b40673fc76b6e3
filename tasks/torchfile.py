"""Files that `torch.save` writes, read without torch's unpickler: a zip of one pickle and storages.

Tensors are references until they are asked for; every size is checked before a byte is read.
"""

import io
import math
import re
import sys
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WeightsError
from tasks import pickles
from tasks.pickles import SHOWN, Arguments, Name, Placeholder, Vocabulary

ITEMS = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # the upper half of a float32
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
"""How numpy reads a storage."""
MOST_AXES, MOST_ELEMENTS = 16, 2**48
STORAGE = re.compile(r"torch\.(cuda\.|storage\.)?\w+Storage")
DTYPE = re.compile(r"torch\.(bool|bfloat16|(u?int|float|complex)\d+)")
NAMED = frozenset(
    {f"builtins.{kind.__name__}" for kind in (bool, bytearray, bytes, complex, dict, float)}
    | {f"builtins.{kind.__name__}" for kind in (frozenset, int, list, object, set, str, tuple)}
    | {f"datetime.{name}" for name in ("date", "datetime", "timedelta")}
    | {f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")}
    | {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
    | {"numpy.dtype", "numpy.ndarray", "_codecs.encode", "_operator.getitem", "operator.getitem"}
    | {"argparse.Namespace", "collections.Counter", "collections.deque"}
    | {"torch.device", "torch.Size", "torch.Tensor", "torch.nn.parameter.Parameter"}
    | {"torch.torch_version.TorchVersion"}
)
"""Names of which training tools put harmless objects into checkpoints."""
PACKAGES = (
    "easydict", "hydra", "lightning", "lightning_fabric", "omegaconf", "pathlib",
    "pytorch_lightning", "torchmetrics", "typing",
)  # fmt: skip
"""Packages of which any class may be named."""
CLASS = re.compile(r"_?[A-Z]\w*")
"""A class's name, by the custom that all these packages follow: no function, nothing nested."""


@dataclass(frozen=True)
class StorageReference:
    """A storage of the archive: its type's name, its entry, its number of elements."""

    kind: str
    key: str
    elements: int


@dataclass(frozen=True)
class TensorReference:
    """A view of a storage, as the pickle describes it."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """Elements of the storage up to the last one that it touches."""
        if not self.elements:
            return 0
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((size - 1) * stride for size, stride in steps) + 1


class TorchFile:
    """The content of a file that `torch.save` wrote; nothing in it is executed."""

    def __init__(self, content: bytes, packages: Collection[str] = ()) -> None:
        """Open the archive.

        Args:
            content: all bytes of the file.
            packages: further ones of which any class may be named, besides `PACKAGES`.

        Raises:
            WeightsError: it is no such archive.
        """
        self.packages = {*PACKAGES, *packages}
        self.size = len(content)
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise WeightsError(
                "it is no zip archive, which torch.save writes since PyTorch 1.6, or it was cut "
                "short; fetch it again, or have its owner load and save it with a newer PyTorch"
            )
        try:
            self.archive = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise WeightsError(f"its zip archive is damaged ({error}); fetch it again") from None
        self.entries = {entry.filename: entry for entry in self.archive.infolist()}
        self._check_entries()
        pickled = [name for name in self.entries if name.split("/")[1:] == ["data.pkl"]]
        if len(pickled) != 1:
            raise WeightsError("it is no archive of torch.save: it has no data.pkl of its own")
        self.folder = pickled[0].removesuffix("data.pkl")

    def _check_entries(self) -> None:
        """Refuse what torch.save never writes, and what could grow beyond the file's own size."""
        if len(self.entries) < len(self.archive.infolist()):
            raise WeightsError("its zip archive names an entry twice")
        for name, entry in self.entries.items():
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise WeightsError(f"its zip entry {name[:SHOWN]!a} leaves the archive")
            stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
            if not stored or entry.file_size != entry.compress_size:
                raise WeightsError(
                    f"its zip entry {name[:SHOWN]!a} is compressed or encrypted; torch.save "
                    "writes plain ones: give the file as it was published"
                )

    def _entry(self, name: str) -> bytes:
        try:
            return self.archive.read(self.folder + name)
        except KeyError:
            raise WeightsError(f"it lacks its entry {name}; fetch it again") from None
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise WeightsError(
                f"its zip archive is damaged ({str(error)[:SHOWN]!a}); fetch it again"
            ) from None

    @cached_property
    def document(self) -> Any:
        """What was saved: plain values, `TensorReference`s, and placeholders of all other objects.

        Raises:
            WeightsError: it names what no checkpoint needs, or is damaged.
        """
        return pickles.read(self._entry("data.pkl"), Vocabulary(MAKERS, self._refuse, storage_of))

    def _refuse(self, name: Name) -> None:
        whole, package = str(name), name.module.partition(".")[0]
        if whole in NAMED or STORAGE.fullmatch(whole) or DTYPE.fullmatch(whole):
            return
        is_class = CLASS.fullmatch(name.name) is not None
        if is_class and package in self.packages:
            return
        hint = ""
        if is_class and package not in sys.stdlib_module_names:
            hint = f"; if it is a configuration class that you know, give --packages {package!a}"
        raise WeightsError(
            f"it names {whole[:SHOWN]!a}, which is no part of a STEGO checkpoint{hint}"
        )

    @cached_property
    def _order(self) -> str:
        """Byte order of the storages, for numpy."""
        if self.folder + "byteorder" not in self.entries:
            return "<"
        return ">" if self._entry("byteorder").strip() == b"big" else "<"

    def tensor(self, reference: TensorReference) -> NDArray[np.float32]:
        """A tensor's numbers, of whatever type they are stored as.

        Raises:
            WeightsError: its storage is missing, or is not what the tensor needs.
        """
        storage = reference.storage
        kind = ITEMS.get(storage.kind)
        if kind is None:
            raise WeightsError(f"it holds a tensor of {storage.kind}; expected plain numbers")
        item = np.dtype(self._order + kind)
        name = f"data/{storage.key}"
        entry = self.entries.get(self.folder + name)
        found = "none" if entry is None else entry.file_size
        if found != storage.elements * item.itemsize:
            raise WeightsError(
                f"its entry {name} has {found} bytes where {storage.elements} elements of "
                f"{item.itemsize} are expected; fetch it again"
            )
        if max(reference.reach, reference.elements) > storage.elements:
            raise WeightsError(
                f"a tensor of shape {reference.shape} and strides {reference.strides} does not "
                f"fit into its storage of {storage.elements} elements"
            )
        stored = np.frombuffer(self._entry(name), item)
        if storage.kind == "BFloat16Storage":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        strides = [stride * stored.itemsize for stride in reference.strides]
        view = np.lib.stride_tricks.as_strided(
            stored[reference.offset :], reference.shape, strides, writeable=False
        )
        return np.array(view, np.float32)


def storage_of(identity: Any) -> StorageReference:
    """The storage that a persistent id stands for: ("storage", type, key, device, elements).

    Raises:
        WeightsError: it is something else.
    """
    match identity:
        case ("storage", Name() as kind, str(key), str(), int(elements)) if (
            STORAGE.fullmatch(str(kind))
            and re.fullmatch(r"[0-9]{1,9}", key)
            and 0 <= elements <= MOST_ELEMENTS
        ):
            return StorageReference(kind.name, key, elements)
    raise WeightsError("its pickle asks for something outside the archive, which no tensor needs")


def _tensor(arguments: Arguments) -> TensorReference:
    match arguments:
        case (StorageReference() as storage, int(offset), tuple(shape), tuple(strides), *_) if len(
            shape
        ) == len(strides) <= MOST_AXES and all(
            type(n) is int and 0 <= n <= MOST_ELEMENTS for n in (*shape, *strides, offset)
        ):
            return TensorReference(storage, offset, shape, strides)
    raise ValueError("describe no tensor")


def _parameter(arguments: Arguments) -> TensorReference:
    match arguments:
        case (TensorReference() as tensor, *_):
            return tensor
    raise ValueError("hold no tensor")


def _ordered(arguments: Arguments) -> dict[Any, Any]:
    match arguments:
        case ():
            return {}
        case (list(pairs),) if all(
            type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) is str
            for pair in pairs
        ):
            return dict(pairs)
    raise ValueError("are no named entries")


def _default(arguments: Arguments) -> dict[Any, Any]:
    match arguments:
        case () | (None | Name(),):
            return {}
    raise ValueError("are no class of default values")


def _reconstructed(arguments: Arguments) -> Placeholder:
    match arguments:
        case (Name() as name, Name(), *_):
            return Placeholder(name, ())
    raise ValueError("name no class")


MAKERS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default,
    "copyreg._reconstructor": _reconstructed,
}
"""What stands for the functions that a checkpoint's values are made with."""
