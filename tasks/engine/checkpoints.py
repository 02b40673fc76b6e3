"""Files of a training: checkpoints of all its tensors, and its curves."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.errors import DamageError
from tasks.log import Log
from tasks.workspace import tables
from tasks.workspace.layout import CHECKPOINTS
from tasks.workspace.ledger import Folder

log = Log(__name__)

Tensors = dict[str, NDArray[Any]]
"""Arrays of a checkpoint by their names."""
ENDING = ".safetensors"


def save(
    folder: Folder,
    step: int,
    tensors: Mapping[str, Tensor | NDArray[Any]],
    keep: int | None = None,
    lasting: Collection[int] = (),
) -> None:
    """Store a checkpoint: a new file each time, so a torn one costs little.

    Only the `keep` newest ones stay, and those of the steps `lasting`; `keep` None keeps all.
    """
    values = {n: v.cpu().numpy() if isinstance(v, Tensor) else v for n, v in tensors.items()}
    path = f"{folder.path}/{CHECKPOINTS}"
    tables.write_tensors(folder.storage, f"{path}/{step:08d}{ENDING}", values)
    passing = [name for name in _names(folder) if _step(name) not in lasting]
    for name in passing[:-keep] if keep else ():
        folder.storage.remove(f"{path}/{name}")


def newest(folder: Folder, title: str, most: int | None = None) -> tuple[int, Tensors] | None:
    """The newest readable checkpoint and its step, at most `most`; None where there is none."""
    for name in reversed(_names(folder)):
        if most is not None and _step(name) > most:
            continue
        try:
            tensors = tables.read_tensors(folder.storage, f"{folder.path}/{CHECKPOINTS}/{name}")
            return _step(name), tensors
        except DamageError as error:
            log.warning("checkpoint skipped", stage=title, cause=error)
    return None


def _step(name: str) -> int:
    """The step of a checkpoint's name."""
    return int(name.removesuffix(ENDING))


def _names(folder: Folder) -> list[str]:
    """Names of the checkpoints, oldest first."""
    names = folder.storage.names(f"{folder.path}/{CHECKPOINTS}")
    return sorted(name for name in names if name.endswith(ENDING))


def of_module(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's parameters under a prefix."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def load_module(module: nn.Module, prefix: str, stored: Tensors) -> None:
    """Give a module the parameters that `of_module` named."""
    start = f"{prefix}."
    named = {n.removeprefix(start): v for n, v in stored.items() if n.startswith(start)}
    module.load_state_dict({name: torch.from_numpy(value) for name, value in named.items()})


def of_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of Adam or AdamW."""
    return {
        f"adam.{number}.{name}": value
        for number, moments in optimiser.state_dict()["state"].items()
        for name, value in moments.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, stored: Tensors) -> None:
    """Give an optimiser the moments that `of_optimiser` named."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in stored.items():
        if name.startswith("adam."):
            _, number, moment = name.split(".")
            moments.setdefault(int(number), {})[moment] = torch.from_numpy(np.array(value))
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def write_rows(folder: Folder, name: str, rows: Sequence[NamedTuple]) -> None:
    """Store the rows of a curve, at least one, as a table; the field `step` is whole."""
    fields = rows[0]._fields
    columns = {field: "int64" if field == "step" else "double" for field in fields}
    table = {field: [getattr(row, field) for row in rows] for field in fields}
    tables.write_table(folder.storage, f"{folder.path}/{name}", table, columns)
