"""Scores of a report: seeds averaged clip by clip, layers chosen, families of comparisons, boards.

Start with scoring.py, then entries.py.
"""
