"""Files that `torch.save` wrote, read by torch's restricted unpickler: nothing in them is run.

`torch.load(weights_only=True)` refuses a file that names a class it does not know. Here each such
name becomes a stand-in of this module, which holds or drops what the file puts into it, so that
nothing of that name is imported. Names of os, posix, nt and sys are refused all the same.
"""

import io
import warnings
import zipfile
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from stego_core.errors import WeightsError

FORBIDDEN = ("os", "posix", "nt", "sys")
"""Modules of which torch's unpickler takes nothing, not even a stand-in."""
NUMBERS = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool} | {
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8
}  # fmt: skip
"""Types of a plain tensor's elements."""
LEGACY_NAMES = ["argparse.Namespace"]
"""Foreign names in DINO's checkpoints; torch does not list those of a file without zip archive."""


class Entries:
    """Stands for most names: calling it makes what torch fills with entries and attributes."""

    def __new__(cls, *_: Any) -> Any:
        """An empty dictionary."""
        return OrderedDict()


class Items:
    """Stands for a class that torch fills with items."""

    def __new__(cls, *_: Any) -> Any:
        """An empty list."""
        return []


class Dropped:
    """Stands for NumPy's names, whose state is a tuple: keeps nothing of it."""

    def __init__(self, *_: Any) -> None:
        """Keep no argument."""

    def __setstate__(self, _: Any) -> None:
        """Keep no state."""


def load(content: bytes) -> Any:
    """What a file holds: plain values, tensors on the CPU, stand-ins for all other objects.

    An object of a foreign class is an OrderedDict of its entries; its attributes are `vars` of it.

    Raises:
        WeightsError: it is damaged, names what no checkpoint needs, or is pickled in a way that
            torch's unpickler does not read.
    """
    archived = zipfile.is_zipfile(io.BytesIO(content))
    try:
        unknown = _unknown_names(content) if archived else LEGACY_NAMES
        stand_ins: list[Any] = [(_stand_in(name), name) for name in unknown]
        with safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other protocols; the outcome says it
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        raise WeightsError(_reason(error, archived)) from None


def is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor of real numbers."""
    known = type(value) in (Tensor, torch.nn.Parameter) and value.dtype in NUMBERS
    return known and value.layout == torch.strided and value.device.type == "cpu"


def _unknown_names(content: bytes) -> list[str]:
    """Names in an archive's pickle that torch does not know, once nothing speaks against it."""
    _check_archive(content)
    unknown = sorted(get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
    for name in unknown:
        if name.partition(".")[0] in FORBIDDEN:
            raise WeightsError(f"it names {name!a}, which is no part of a checkpoint")
    return unknown


def _check_archive(content: bytes) -> None:
    """Refuse an archive that grows when it is unpacked, or whose bytes have changed."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    if sum(entry.file_size for entry in archive.infolist()) > len(content):
        raise WeightsError(
            "its zip archive is larger unpacked than the file; torch.save compresses nothing: "
            "give the file as it was published"
        )
    damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(f"its zip entry {damaged!a} is damaged; fetch it again")


def _stand_in(name: str) -> type:
    if name.startswith("numpy."):
        return Dropped
    return Items if name == "collections.deque" else Entries


def _reason(error: Exception, archived: bool) -> str:
    """A sentence for what torch says; text of the file's own is escaped."""
    if not archived:
        return (
            "it is no zip archive, which torch.save writes since PyTorch 1.6, or it was cut short; "
            "fetch it again, or have its owner load and save it with a newer PyTorch"
        )
    said = str(error).rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
    return (
        f"it cannot be read ({said.splitlines()[0][:120]!a}); fetch it again, or have its owner "
        "save the state_dict alone, with the default protocol of torch.save (2)"
    )
