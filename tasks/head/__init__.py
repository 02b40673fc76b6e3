"""Stage head: training of the segmentation head."""
