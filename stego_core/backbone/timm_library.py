"""timm and torchvision, imported without torch's compiler, which takes longer than they do."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
USED = ("torch._dynamo", "torch._dynamo.utils")
"""Modules of torch's compiler that are asked for while timm and torchvision are imported."""


@contextmanager
def without_compiler() -> Iterator[None]:
    """Import torchvision or timm in the block without torch's compiler.

    They ask it for two things: whether `roi_align` may be compiled on a device, and to leave some
    methods of NaFlexViT alone should somebody compile one; we use neither. A compiler that is
    imported already stays, and one that is imported later is the real one.
    """
    if COMPILER in sys.modules:
        yield
        return
    import torch

    package, utilities = map(ModuleType, USED)
    package.__path__ = []
    package.disable = _as_it_is  # type: ignore[attr-defined]
    utilities.is_compile_supported = lambda _: False  # type: ignore[attr-defined]
    package.utils = utilities  # type: ignore[attr-defined]
    sys.modules.update(zip(USED, (package, utilities), strict=True))
    try:
        yield
    finally:
        for name in USED:
            del sys.modules[name]
        vars(torch).pop("_dynamo", None)


def _as_it_is(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
    return function


def timm() -> Any:
    """timm, with our architectures among its own."""
    with without_compiler():
        import timm
        import timm.data

        import_module("stego_core.backbone.pico")  # registers them
    return timm
