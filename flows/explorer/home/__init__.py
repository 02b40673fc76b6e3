"""The page "Point me at images": what lies there, the run on it, its progress."""
