"""Imports your own videos and folders of pictures, with whatever ground truth a manifest names.

Start with `source.py`, then `manifest.py` for the format.
"""
