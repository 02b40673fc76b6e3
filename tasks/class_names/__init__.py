"""Names of the classes, and proposals for them."""
