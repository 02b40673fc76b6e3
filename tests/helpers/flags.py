"""Flags that make a run quick: a random backbone of two layers, small crops, few steps."""

TINY = ("--backbone", "vit_tiny_patch16_224", "--weights", "untrained", "--layer", "1")
"""Flags of a backbone that needs no file and is quick."""
QUICK = ("--crop-size", "64", "--steps", "12", "--restarts", "2", "--resolution", "64")
