"""k-means, how stable its result is, and a plane to show it on."""
