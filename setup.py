"""The one part that is compiled; everything else is in pyproject.toml."""

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

setup(
    ext_modules=[
        Pybind11Extension(
            "stego_core.masks._lattice",
            ["stego_core/masks/_lattice.cpp"],
            depends=["stego_core/masks/lattice.hpp"],
            cxx_std=17,
            extra_compile_args=["-O3", "-Wno-psabi"],
        )
    ]
)
