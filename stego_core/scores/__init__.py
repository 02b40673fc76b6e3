"""Masks against labels, a linear probe, and drift without labels."""
