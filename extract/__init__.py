"""Frozen backbones to feature stores: the adapter contract, one folder per model family, and the job that runs them.

Start with `adapter` (what a model promises), then `video.wan` (a family) and `job.extraction` (a whole extraction).
"""
