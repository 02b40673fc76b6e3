"""Checkpoints that STEGO's authors released, read as data."""
