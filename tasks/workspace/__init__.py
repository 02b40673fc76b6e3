"""The only code that touches storage: paths, bytes, Zarr, Parquet, manifests and the ledger."""
