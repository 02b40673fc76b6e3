"""k-means, how well its clusters separate and which are alike, and a plane to show them on."""
