"""Procedural rooms with exact ground truth, a dataset made on the CPU from nothing but a seed.

Start with `source.py`, which makes a clip, then `world.py` for what the clip shows.
"""
