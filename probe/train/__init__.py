"""From a resolved configuration to trained probes, several side by side on the same batches.

Start with train.py, then loop.py, which is one pass over the data.
"""
