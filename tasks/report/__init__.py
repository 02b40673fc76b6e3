"""Stage report: one page, and the status."""
