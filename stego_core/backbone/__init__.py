"""Vision transformers that patches get their features from."""
