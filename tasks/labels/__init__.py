"""From label files to class ids."""
