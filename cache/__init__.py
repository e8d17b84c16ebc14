"""The feature store: chunked Zarr arrays of backbone features with atomic commits, checksums and identity.

`FeatureStore` creates, opens, reads and writes a store; `source` says what all readers of features rely on, `format`
what lies on the disk. `cache.loading.feature_loader.FeatureLoader` makes batches; it is the only part that imports
torch on import.
"""

from cache.care.forecast import bytes_needed, check_free_space
from cache.clip_writer import ClipWriter
from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec, array_name
from cache.locate import find_stores, locate_store, store_path
from cache.source import FeatureSource
from cache.store import FeatureStore

__all__ = [
    "ArraySpec",
    "ClipEntry",
    "ClipWriter",
    "FeatureSource",
    "FeatureStore",
    "array_name",
    "bytes_needed",
    "check_free_space",
    "find_stores",
    "locate_store",
    "store_path",
]
