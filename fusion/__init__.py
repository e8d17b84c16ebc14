"""Several feature stores read as one: aligned, normalised, concatenated.

`fusion.open_source` opens a store or a fused view by name; `fusion.FusedView` answers like a store. Start with
`opening`; `views/` holds the arithmetic, and `fuse` what the command line does.
"""

from fusion.opening import open_source
from fusion.views.view import FusedView

__all__ = ["FusedView", "open_source"]
