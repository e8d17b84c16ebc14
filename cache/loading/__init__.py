"""Reading many rows: batches for training from a ring of reused buffers, and passes over whole stores with Dask.

Start with `feature_loader`.
"""
