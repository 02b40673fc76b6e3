"""Stage neighbors: the most similar images of each image."""
