"""What a prepared dataset is.

The clip, its files and tables, splits, query plans, and the targets that probes learn from. Start with `layout.py`
for what lies on the disk and `reader.py` for how it is read.
"""
