"""Bytes below a URI, on a local disk or in an object store."""
