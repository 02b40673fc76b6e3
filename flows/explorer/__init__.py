"""A page to look at a workspace with, to ask where else a pixel's like is, and to name classes."""
