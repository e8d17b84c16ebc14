"""Imports ScanNet recordings, from `.sens` files or exported folders.

Start with `source.py`, then `recording.py` for what is kept of a scan.
"""
