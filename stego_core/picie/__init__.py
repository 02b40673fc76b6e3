"""PiCIE, a baseline: views, network, losses and mini-batch k-means (Cho et al. 2021)."""
