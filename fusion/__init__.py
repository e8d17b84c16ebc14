"""Several feature stores read as one: aligned, normalised, concatenated.

Start with `opening`, whose `open_source` opens a store or a fused view by name; `views/` holds the arithmetic (a
`views.view.FusedView` answers like a store), and `fuse` what the command line does.
"""
