"""Checkpoints give back bit for bit what was saved, and one that is torn costs only itself."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tasks.engine import checkpoints
from tasks.storage.storage import Storage
from tasks.workspace.ledger import Folder

Optimisers = type[torch.optim.Adam] | type[torch.optim.AdamW]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(Storage.at(str(tmp_path)), "stage/key")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "stage/key/checkpoints"


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def numbered(folder: Folder, *steps: int, keep: int | None = None) -> None:
    """Checkpoints that hold their own step."""
    for step in steps:
        checkpoints.save(folder, step, {"step": np.array([step])}, keep)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def descend(model: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    """Steps on data of their own; the last layer stands still until step 2."""
    for step in steps:
        data = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        functional.mse_loss(model(data), torch.ones(8, 2)).backward()
        if step < 2:
            for parameter in model[2].parameters():
                parameter.grad = None
        optimiser.step()


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


class TestRoundTrip:
    def test_modules_under_prefixes_that_begin_alike(self, folder: Folder) -> None:
        first, second, into = network(1), network(2), (network(3), network(4))
        descend(first, torch.optim.Adam(first.parameters()), range(1))
        tensors = {**checkpoints.of_module(first, "net"), **checkpoints.of_module(second, "nets")}
        checkpoints.save(folder, 1, tensors)
        (_, stored) = checkpoints.newest(folder, "stage") or (0, {})
        checkpoints.load_module(into[0], "net", stored)
        checkpoints.load_module(into[1], "nets", stored)
        assert same(into[0], first)
        assert same(into[1], second)

    @pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
    @pytest.mark.parametrize("saved_at", [0, 1, 3])
    def test_two_steps_later_every_bit_is_the_same(
        self, folder: Folder, kind: Optimisers, saved_at: int
    ) -> None:
        """Also where no moment, or only some parameters' moments, are there yet."""
        model = network(1)
        optimiser = kind(model.parameters(), lr=0.05, weight_decay=0.1)
        descend(model, optimiser, range(saved_at))
        tensors = {**checkpoints.of_module(model, "m"), **checkpoints.of_optimiser(optimiser)}
        checkpoints.save(folder, saved_at, tensors)
        descend(model, optimiser, range(saved_at, saved_at + 2))

        step, stored = checkpoints.newest(folder, "stage") or (-1, {})
        assert step == saved_at
        other = network(2)
        again = kind(other.parameters(), lr=0.05, weight_decay=0.1)
        checkpoints.load_module(other, "m", stored)
        checkpoints.load_optimiser(again, stored)
        descend(other, again, range(saved_at, saved_at + 2))
        assert same(other, model)

    def test_moments_of_before_are_forgotten(self, folder: Folder) -> None:
        model, used = network(1), network(2)
        optimiser, again = (torch.optim.Adam(each.parameters(), 0.05) for each in (model, used))
        descend(used, again, range(5))
        checkpoints.load_optimiser(again, {})
        checkpoints.load_module(used, "m", _arrays(checkpoints.of_module(model, "m")))
        for each, own in ((model, optimiser), (used, again)):
            descend(each, own, range(5, 7))
        assert same(used, model)

    def test_arrays_keep_their_types_and_shapes(self, folder: Folder) -> None:
        arrays = {
            "rows": np.arange(6, dtype=np.int64).reshape(2, 3),
            "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
            "one": np.array(7, np.float32),
            "none": np.empty((0, 3)),
        }
        checkpoints.save(folder, 1, {**arrays, "tensor": torch.arange(3.0)})
        _, stored = checkpoints.newest(folder, "stage") or (0, {})
        assert set(stored) == {*arrays, "tensor"}
        for name, array in arrays.items():
            assert (stored[name].dtype, stored[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(stored[name], array)
        np.testing.assert_array_equal(stored["tensor"], np.arange(3, dtype=np.float32))


def _arrays(tensors: dict[str, torch.Tensor]) -> checkpoints.Tensors:
    return {name: value.numpy().copy() for name, value in tensors.items()}


class TestNewest:
    def test_none(self, folder: Folder) -> None:
        assert checkpoints.newest(folder, "stage") is None

    @pytest.mark.parametrize("steps", [(9, 10), (100, 20, 3), (99_999, 100_000)])
    def test_is_the_one_after_most_steps(self, folder: Folder, steps: tuple[int, ...]) -> None:
        numbered(folder, *steps)
        step, stored = checkpoints.newest(folder, "stage") or (0, {})
        assert step == max(steps)
        assert stored["step"] == [max(steps)]

    def test_other_files_are_none(self, folder: Folder, place: Path) -> None:
        numbered(folder, 3)
        (place / "zzz.part").write_bytes(b"half")
        step, _ = checkpoints.newest(folder, "stage") or (0, {})
        assert step == 3

    @pytest.mark.parametrize("tear", [lambda whole: whole[:-1], lambda whole: b""])
    def test_a_torn_one_is_skipped_with_a_warning(
        self,
        folder: Folder,
        place: Path,
        tear: Callable[[bytes], bytes],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        numbered(folder, 1, 2, 3)
        for step in (2, 3):
            path = place / f"{step:08d}.safetensors"
            path.write_bytes(tear(path.read_bytes()))
        with caplog.at_level(logging.WARNING):
            step, stored = checkpoints.newest(folder, "pretrain") or (0, {})
        assert (step, stored["step"].tolist()) == (1, [1])
        said = [record.getMessage() for record in caplog.records]
        assert [line.startswith("checkpoint skipped stage=pretrain") for line in said] == [True] * 2
        assert "00000003.safetensors" in said[0]
        assert "00000002.safetensors" in said[1]

    def test_all_torn(self, folder: Folder, place: Path) -> None:
        numbered(folder, 1)
        (place / "00000001.safetensors").write_bytes(b"torn")
        assert checkpoints.newest(folder, "stage") is None


class TestKeep:
    def test_the_newest_stay(self, folder: Folder, place: Path) -> None:
        numbered(folder, 5, 9, 10, 11, keep=2)
        assert names(place) == ["00000010.safetensors", "00000011.safetensors"]

    def test_fewer_than_that_all_stay(self, folder: Folder, place: Path) -> None:
        numbered(folder, 5, 9, keep=3)
        assert len(names(place)) == 2

    def test_all_by_default(self, folder: Folder, place: Path) -> None:
        numbered(folder, 1, 2, 3, 4)
        assert len(names(place)) == 4
