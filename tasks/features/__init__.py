"""Stage features: patch features of a backbone, and their readers."""
