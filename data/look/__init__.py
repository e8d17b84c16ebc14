"""Looks at a finished dataset: prints what is in it, draws contact sheets, and checks every byte and the geometry.

Start with `inspect.py`.
"""
