"""Imports DL3DV scenes; a teacher supplies the geometry that they lack.

Start with `source.py`, then `footage.py` for the frames and `teachers.py` for the geometry.
"""
