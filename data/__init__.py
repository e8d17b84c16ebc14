"""From raw data to prepared datasets.

Start with `dataset/clip.py`, the clip that every source hands over, and `prepare/prepare.py`, which makes a dataset
of such clips.
"""
