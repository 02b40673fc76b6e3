"""The one part that is compiled; everything else is in pyproject.toml.

Without a compiler it is left out, and the CRF is computed in numpy. With STEGO_LATTICE=required
that is an error: for wheels, which must have it.
"""

import os

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
            optional=os.environ.get("STEGO_LATTICE") != "required",
        )
    ]
)
