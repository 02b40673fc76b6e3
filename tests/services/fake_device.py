"""A torch device that is none: it computes on the CPU, and refuses what a GPU would refuse.

There are two of them, `fake:0` and `fake:1`. An operation that mixes their tensors with each other
or with the CPU's raises, as CUDA does, but for numbers of the CPU (tensors of no dimension), copies
from one to the other, and places to index at. Their values cannot be had with `.numpy()`, and no
generator of the CPU draws on them.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from types import FrameType
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "fake"
PROJECT = ("stego_core.", "tasks.")
MOVES = {"copy_", "_to_copy", "_copy_from", "_copy_from_and_resize"}
"""Operations that take tensors of both devices."""
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
"""Operations whose indices may lie on the CPU."""
PRODUCTS = ("linear", "matmul", "conv2d", "bmm", "scaled_dot_product_attention")
"""Operations that autocast computes in half precision."""
users: set[str] = set()
"""Modules of the project that had something computed on the device, since the process began."""


class FakeTensor(torch.Tensor):
    """A tensor on the device; `held` are its values on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> "FakeTensor":
        with torch.inference_mode(False):  # a view of a weight shares its counter of versions
            made: FakeTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=device,
                requires_grad=False,
            )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FakeTensor({self.held!r})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute on the CPU, after a look at the devices."""
        given, name = dict(kwargs or {}), func.overloadpacket.__name__
        device = _place(given["device"]) if given.get("device") else _first(args, given).device
        if name not in MOVES:
            _require_one_device(name, args, given)
        if "device" in given:
            given["device"] = torch.device("cpu")
        users.update(_callers(sys._getframe(1)))
        outcome = func(*tree_map(_held, args), **tree_map(_held, given))
        if func._schema.is_mutable:
            return _written(func, args, kwargs or {}, outcome, device)
        return outcome if device.type != NAME else tree_map(partial(_fake, device), outcome)


def _callers(frame: FrameType | None) -> Iterator[str]:
    """The project's modules among those whose functions are under way."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(PROJECT):
            yield name
        frame = frame.f_back


def _written(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    outcome: Any,
    device: torch.device,
) -> Any:
    """What an operation that writes in place returns: the tensors that were given."""
    names = [argument.name for argument in func._schema.arguments]
    by_name = {**dict(zip(names, args, strict=False)), **kwargs}
    written = [
        by_name[argument.name]
        for argument in func._schema.arguments
        if argument.alias_info and argument.alias_info.is_write and argument.name in by_name
    ]
    if outcome is None:
        return None
    if isinstance(outcome, tuple | list):
        if len(written) != len(outcome):
            return tree_map(partial(_fake, device), outcome)
        return type(outcome)(written)
    return written[0]


def _require_one_device(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise where tensors of both devices meet, or a generator of the CPU would draw on this one.

    Raises:
        RuntimeError: they do.
    """
    places: list[str] = []

    def look(value: Any) -> Any:
        if isinstance(value, FakeTensor) or (isinstance(value, torch.Tensor) and value.ndim):
            places.append(str(value.device))
        if isinstance(value, torch.Generator):
            places.append(f"a generator of {value.device}")
        return value

    indices = 1 if name in INDEXED else None
    tree_map(look, ([each for n, each in enumerate(args) if n != indices], kwargs))
    if indices:
        tree_map(lambda each: look(each) if isinstance(each, FakeTensor) else each, args[1])
    if len(set(places)) > 1:
        raise RuntimeError(
            f"expected all tensors to be on the same device: {name} was called with those of "
            + ", ".join(sorted(set(places)))
        )


def _first(*given: Any) -> "FakeTensor":
    """The first tensor of the device among what an operation was given."""
    return next(each for each in tree_leaves(given) if isinstance(each, FakeTensor))


def _place(device: Any) -> torch.device:
    place = torch.device(device)
    return torch.device(NAME, place.index or 0) if place.type == NAME else place


def _held(value: Any) -> Any:
    if isinstance(value, FakeTensor):
        return value.held
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return value


def _fake(device: torch.device, value: Any) -> Any:
    return FakeTensor(value, device) if type(value) is torch.Tensor else value


class _Module(_DummyBackendModule):
    """What torch asks of `torch.fake`."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass

    def device_count(self) -> int:
        return 2

    def synchronize(self, device: Any = None) -> None:
        pass


def _empty(size: Sequence[int], **options: Any) -> FakeTensor:
    return FakeTensor(torch.empty(size, dtype=options.get("dtype")), _place(options["device"]))


def _empty_strided(size: Sequence[int], stride: Sequence[int], **options: Any) -> FakeTensor:
    held = torch.empty_strided(size, stride, dtype=options.get("dtype"))
    return FakeTensor(held, _place(options["device"]))


def _copy_from(source: torch.Tensor, target: torch.Tensor, *_: Any) -> torch.Tensor:
    _held(target).copy_(_held(source))
    return target


def _halved(name: str) -> Callable[..., Any]:
    """A product as autocast has it: what it takes is cast before."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    product = getattr(torch.ops.aten, name)

    def cast(value: Any) -> Any:
        floats = isinstance(value, FakeTensor) and value.dtype == torch.float32
        return value.to(torch.get_autocast_dtype(NAME)) if floats else value

    def compute(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return product(*tree_map(cast, args), **tree_map(cast, kwargs))

    return compute


def _backward(run: Callable[..., Any]) -> Callable[..., Any]:
    """Gradients in the calling thread: the engine's own thread of a device of Python's aborts."""

    def run_here(*args: Any, **kwargs: Any) -> Any:
        with torch.autograd.set_multithreading_enabled(False):
            return run(*args, **kwargs)

    return run_here


@cache
def register() -> Sequence[torch.library.Library]:
    """Make the device known to this process, once; returns what must be kept."""
    _setup_privateuseone_for_python_backend(NAME, _Module())
    library = torch.library.Library("aten", "IMPL", "PrivateUse1")
    library.impl("empty.memory_format", _empty)
    library.impl("empty_strided", _empty_strided)
    library.impl("_copy_from", _copy_from)
    others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    others.fallback(torch.library.fallthrough_kernel)
    products = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for name in PRODUCTS:
        products.impl(name, _halved(name))
    torch.autograd._engine_run_backward = _backward(torch.autograd._engine_run_backward)  # type: ignore[attr-defined]
    return library, others, products
