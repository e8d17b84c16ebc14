"""Geometry metrics of one clip, numpy arrays in, numbers out.

Depth, point maps, cameras, and where the errors come from. Start with clip.py, which calls all of them.
"""
