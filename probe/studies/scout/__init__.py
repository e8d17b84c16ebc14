"""Which arrays deserve a trained probe: ridge regression in closed form over all layers, noise levels and penalties.

Start with scout.py; ridge.py is the arithmetic, one eigendecomposition per array.
"""
