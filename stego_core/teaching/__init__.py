"""Learning from a few labelled points: the graph of patches that their classes spread along."""
