"""The feature store: chunked Zarr arrays of backbone features with atomic commits, checksums and identity.

`cache.FeatureStore`, `cache.ArraySpec`, `cache.ClipEntry`, `cache.FeatureLoader` and the other public names are
imported on first use, so that `import cache` and the command line stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.care.forecast import bytes_needed as bytes_needed
    from cache.care.forecast import check_free_space as check_free_space
    from cache.clip_writer import ClipWriter as ClipWriter
    from cache.format.clips import ClipEntry as ClipEntry
    from cache.format.spec import ArraySpec as ArraySpec
    from cache.format.spec import array_name as array_name
    from cache.loading.feature_loader import FeatureLoader as FeatureLoader
    from cache.locate import find_stores as find_stores
    from cache.locate import locate_store as locate_store
    from cache.locate import store_path as store_path
    from cache.source import FeatureSource as FeatureSource
    from cache.store import FeatureStore as FeatureStore

_HOME = {
    "ArraySpec": "cache.format.spec",
    "ClipEntry": "cache.format.clips",
    "ClipWriter": "cache.clip_writer",
    "FeatureLoader": "cache.loading.feature_loader",
    "FeatureSource": "cache.source",
    "FeatureStore": "cache.store",
    "array_name": "cache.format.spec",
    "bytes_needed": "cache.care.forecast",
    "check_free_space": "cache.care.forecast",
    "find_stores": "cache.locate",
    "locate_store": "cache.locate",
    "store_path": "cache.locate",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cache' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
