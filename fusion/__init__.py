"""Several feature stores read as one: aligned, normalised, concatenated.

`fusion.open_source` opens a store or a fused view by name; `fusion.FusedView` answers like a store. Both are imported
on first use, so that `import fusion` and the command line stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusion.gate import BranchGate as BranchGate
    from fusion.opening import open_source as open_source
    from fusion.views.view import FusedView as FusedView

_HOME = {"BranchGate": "fusion.gate", "FusedView": "fusion.views.view", "open_source": "fusion.opening"}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fusion' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
