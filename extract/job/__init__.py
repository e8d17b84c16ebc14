"""The verbs of `extract`: from options to a filled store.

Start with `extraction` (a whole run), then `request` (what is computed) and `runner` (one process: read, run,
write).
"""
