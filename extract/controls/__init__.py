"""Sources of features that are not models: floors (pixels, position) and the ceiling (oracle) of every probe score.

Start with `maps`, the adapter that they share, then `pixels`.
"""
