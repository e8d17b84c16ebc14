"""InternVL3 and InternVL3.5, and models trained further from them.

Start with `adapter`; `original` reads checkpoints of the first release.
"""
