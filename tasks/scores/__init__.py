"""Stage scores: masks against labels, and linear probes."""
