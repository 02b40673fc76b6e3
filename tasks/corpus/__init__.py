"""Stage corpus: images become a dump with a frozen index."""
