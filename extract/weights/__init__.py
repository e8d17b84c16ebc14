"""Where weights come from and how only what is needed of them is loaded: checkpoints, snapshots, parts, tiny twins.

Start with `snapshot` (finding and identifying them), then `checkpoint` (reading tensors).
"""
