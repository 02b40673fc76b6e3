"""What a training leaves: checkpoints of all its tensors, and its curves."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.errors import DamageError
from tasks.log import Log
from tasks.workspace import tables
from tasks.workspace.ledger import Folder

log = Log(__name__)

Tensors = dict[str, NDArray[Any]]
FOLDER, ENDING = "checkpoints", ".safetensors"


def save(
    folder: Folder, step: int, tensors: Mapping[str, Tensor | NDArray[Any]], keep: int | None = None
) -> None:
    """Store a checkpoint: a new file each time, so a torn one costs little.

    Args:
        folder: of the stage.
        step: after how many steps.
        tensors: all that training needs to go on.
        keep: how many checkpoints stay, the newest; None keeps all.
    """
    stored = {
        name: value.cpu().numpy() if isinstance(value, Tensor) else value
        for name, value in tensors.items()
    }
    place = f"{folder.path}/{FOLDER}"
    tables.write_tensors(folder.storage, f"{place}/{step:08d}{ENDING}", stored)
    if keep is not None:
        for name in _names(folder)[:-keep]:
            folder.storage.remove(f"{place}/{name}")


def newest(folder: Folder, title: str) -> tuple[int, Tensors] | None:
    """The newest readable checkpoint and its step; None where there is none."""
    for name in reversed(_names(folder)):
        try:
            stored = tables.read_tensors(folder.storage, f"{folder.path}/{FOLDER}/{name}")
        except DamageError as error:
            log.warning("checkpoint skipped", stage=title, cause=error)
            continue
        return int(name.removesuffix(ENDING)), stored
    return None


def _names(folder: Folder) -> list[str]:
    """Names of the checkpoints, oldest first."""
    names = folder.storage.names(f"{folder.path}/{FOLDER}")
    return sorted(name for name in names if name.endswith(ENDING))


def of_module(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's parameters under a prefix."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def load_module(module: nn.Module, prefix: str, stored: Tensors) -> None:
    """Give a module the parameters that `of_module` named."""
    own = {
        name.removeprefix(f"{prefix}."): torch.from_numpy(value)
        for name, value in stored.items()
        if name.startswith(f"{prefix}.")
    }
    module.load_state_dict(own)


def of_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments of Adam or AdamW."""
    return {
        f"adam.{number}.{name}": value
        for number, moments in optimiser.state_dict()["state"].items()
        for name, value in moments.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, stored: Tensors) -> None:
    """Give an optimiser the moments that `of_optimiser` named."""
    document = optimiser.state_dict()
    document["state"] = {}
    for name, value in stored.items():
        if name.startswith("adam."):
            _, number, moment = name.split(".")
            document["state"].setdefault(int(number), {})[moment] = torch.from_numpy(
                np.array(value)
            )
    optimiser.load_state_dict(document)


def write_rows(folder: Folder, name: str, rows: Sequence[NamedTuple]) -> None:
    """Store what was noted of some steps, at least one, as a table; the field `step` counts."""
    fields = rows[0]._fields
    columns = {field: "int64" if field == "step" else "double" for field in fields}
    table = {field: [getattr(row, field) for row in rows] for field in fields}
    tables.write_table(folder.storage, f"{folder.path}/{name}", table, columns)
