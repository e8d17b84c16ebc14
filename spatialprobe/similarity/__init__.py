"""`spatialprobe cache similarity`: how alike the features of two sources are.

The numbers come from `cache.similarity`, which knows stores only. Opening what a name means, fused views included, and
comparing features with the dataset as it is now need `fusion`, which `cache` may not import. The verb is therefore
added to those of `cache` here, above all stages. Start with `run.py`.
"""
