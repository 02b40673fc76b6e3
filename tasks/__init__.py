"""One module per stage: load from the workspace, call stego_core, store, record."""
