"""Pixels of no class: as a class id in arithmetic, and as a byte in stored masks and labels."""

VOID = -1
"""Class id of pixels that have no class, in signed arrays."""

VOID_BYTE = 255
"""The same in arrays and files of one unsigned byte a pixel."""
