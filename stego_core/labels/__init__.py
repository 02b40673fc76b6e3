"""What ids mean: class names, taxonomies, connected regions."""
