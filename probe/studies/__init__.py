"""Experiments made of several runs: sweeps over layers and noise levels, code lengths, comparisons of two runs.

Each file is one experiment; sweep.py is the largest.
"""
