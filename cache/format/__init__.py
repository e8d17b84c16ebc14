"""The bytes of a store: arrays and clips, JSON records, commit records, the manifest, shards and channel statistics.

Start with `layout`, which names every file, then `commits`, which says when a clip counts.
"""
