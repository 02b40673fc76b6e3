"""The segmentation head: its layers, its loss, its training."""
