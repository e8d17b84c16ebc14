"""Building blocks that the networks of several tasks share.

Attention, the trunk, dense and linear heads, the gate of fused features. Start with trunk.py; sizes and options are
in config.py, which loads no torch.
"""
