"""Pixels: sizes and windows, numbers to pictures, palettes."""
