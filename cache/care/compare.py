"""How two stores differ: parameters, arrays, clips, and the committed values themselves."""

from __future__ import annotations

from cache.format.header import identity_differences
from cache.store import FeatureStore
from configs.identity import differences


def compare(first: FeatureStore, second: FeatureStore) -> list[str]:
    """Return one line per difference; an empty list for stores with the same values and the same identity.

    Values are compared by the checksums taken when they were written, so nothing is read again. Compression, places
    and run facts don't count as differences.
    """
    lines = identity_differences(first.header, second.source, second.dataset, second.fingerprint)
    one, two = first.arrays, second.arrays
    lines += [f"array {name}: only in the first" for name in one.keys() - two.keys()]
    lines += [f"array {name}: only in the second" for name in two.keys() - one.keys()]
    shared = [name for name in one if name in two]
    for name in shared:
        old = {**one[name].to_json(), "compression": None}
        new = {**two[name].to_json(), "compression": None}
        lines += [f"array {name}: {difference}" for difference in differences(old, new)]
    clips, others = set(first.clips), set(second.clips)
    lines += [f"clip {clip_id}: only in the first" for clip_id in first.clips if clip_id not in others]
    lines += [f"clip {clip_id}: only in the second" for clip_id in second.clips if clip_id not in clips]
    for clip_id in first.clips:
        if clip_id in others:
            lines += _compare_clip(first, second, clip_id, shared)
    return lines


def _compare_clip(first: FeatureStore, second: FeatureStore, clip_id: str, arrays: list[str]) -> list[str]:
    lines = []
    if first.entry(clip_id).input_sha256 != second.entry(clip_id).input_sha256:
        lines.append(f"clip {clip_id}: different input frames")
    for name in arrays:
        one = first.index.shard(first.clip_index(clip_id), name)
        two = second.index.shard(second.clip_index(clip_id), name)
        if one is None and two is None:
            continue
        if one is None or two is None:
            lines.append(f"clip {clip_id}, array {name}: only committed in the {'second' if one is None else 'first'}")
        elif one.crc32c != two.crc32c:
            rows = [row for row, pair in enumerate(zip(one.crc32c, two.crc32c, strict=False)) if pair[0] != pair[1]]
            lines.append(f"clip {clip_id}, array {name}: different values in {len(rows)} rows")
    return lines
