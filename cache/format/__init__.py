"""The bytes of a store: arrays and clips, records and the index of commits, the manifest, shards, channel statistics.

Start with `layout`, which names every file, then `records`, which says when a clip counts.
"""
