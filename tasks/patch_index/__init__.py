"""Stage patches: an index of all patches, and its search."""
