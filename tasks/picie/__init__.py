"""PiCIE, a baseline: its training, and its networks in the workspace."""
