"""Stage masks: a class for each pixel."""
