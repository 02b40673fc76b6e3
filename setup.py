"""What is compiled; everything else is in pyproject.toml.

Without a compiler it is left out: the CRF is computed in numpy, attention by torch. With
STEGO_COMPILED=required that is an error: for wheels, which must have it.
"""

import os
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

COMPILED = {
    "stego_core.masks._lattice": sorted(map(str, Path("stego_core/masks").glob("*.hpp"))),
    "stego_core.backbone._attention": [],
}
"""Modules, and the headers that each includes."""


def extension(name: str, headers: list[str]) -> Pybind11Extension:
    """A module of the C++ file of its name."""
    return Pybind11Extension(
        name,
        [f"{name.replace('.', '/')}.cpp"],
        depends=headers,
        cxx_std=17,
        extra_compile_args=["-O3", "-Wno-psabi"],
        optional=os.environ.get("STEGO_COMPILED") != "required",
    )


setup(ext_modules=[extension(*each) for each in COMPILED.items()])
