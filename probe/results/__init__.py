"""Finished runs on disk: their files, how they are written, listed, imported and applied again.

Start with results.py, the format of a results file.
"""
