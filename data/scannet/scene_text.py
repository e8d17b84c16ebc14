"""`<scan>.txt`: facts of a recording as `key = value` lines."""

from __future__ import annotations

from data.raw.folder import RawFolder
from data.scannet.scans import Scan


def read_scene_text(raw: RawFolder, scan: Scan) -> dict[str, str]:
    """Return the facts of a scan, {} if it has no such file. Lines without ` = ` are left out.

    Raises:
        DatasetError: the file leads out of the raw folder or is absurdly large.
    """
    name = scan.inside(f"{scan.name}.txt")
    if not raw.exists(name):
        return {}
    lines = raw.read(name, limit=1 << 20).decode("utf-8", "replace").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def frame_count_note(facts: dict[str, str], count: int) -> str | None:
    """Return a warning if the recording has neither as many frames as the text names for colour nor for depth."""
    named = [int(text) for key in ("numColorFrames", "numDepthFrames") if (text := facts.get(key, "")).isdecimal()]
    if named and count not in named:
        return f"the scan's text file names {' or '.join(map(str, named))} frames, the recording has {count}"
    return None
