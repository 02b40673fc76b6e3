"""How long a run of the page takes: predicted before it, and what is left of it."""
