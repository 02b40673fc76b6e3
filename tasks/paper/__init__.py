"""The paper's data sets and protocol."""
