"""Looking after stores: verify, repair, seal, prune, copy, compare, describe, and estimate their size.

Every module is one command of `spatialprobe cache`; start with `verify`.
"""
