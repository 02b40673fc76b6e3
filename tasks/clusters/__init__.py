"""Stage clusters: k-means on the head's codes."""
