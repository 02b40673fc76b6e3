"""The published data sets, protocol and checkpoints of STEGO."""
