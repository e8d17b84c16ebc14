"""The feature store: chunked Zarr arrays of backbone features with atomic commits, checksums and identity."""
