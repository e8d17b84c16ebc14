"""Experiments around runs: sweeps over layers and noise levels, scouts for them, code lengths, comparisons of two runs.

Each file is one experiment, `scout/` another; sweep.py is the largest.
"""
