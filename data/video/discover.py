"""Finds the recordings below a raw folder: those that its manifest lists, else videos and folders of pictures."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from configs.console import get_logger
from configs.errors import DatasetError, MissingError
from data.raw.folder import RawFolder
from data.raw.listing import describe_left_out, is_picture
from data.raw.video import SUFFIXES
from data.video.manifest import MANIFEST, read_manifest
from data.video.recording import Collection, Recording

log = get_logger("data.video")


def find_recordings(path: Path) -> tuple[RawFolder, Collection]:
    """Return the folder that is read and the recordings in it.

    A file is one video. A folder with `manifest.json` holds what that lists. Of any other folder, pictures right in it
    are one recording; else every video and every sub-folder with pictures is one. Nothing deeper is looked at. What
    isn't used is named in a warning.

    Raises:
        MissingError: there is nothing at the path.
        DatasetError: no recordings, pictures beside videos, a broken manifest, or two names that give the same id.
    """
    if path.is_file():
        if path.name == MANIFEST:
            raw = RawFolder(path.parent)
            return raw, read_manifest(raw)
        if not path.name.lower().endswith(SUFFIXES):
            raise DatasetError(
                "neither a folder nor a video", expected=f"a folder, or a file that ends in {', '.join(SUFFIXES)}",
                where=path,
            )  # fmt: skip
        real = path.resolve()
        return RawFolder(real.parent), Collection(recordings=(_recording(real.name, path.stem, is_video=True),))
    if not path.exists():
        raise MissingError("no such raw data", where=path, fix="check the path given as raw=")
    raw = RawFolder(path)
    if raw.exists(MANIFEST):
        return raw, read_manifest(raw)
    videos = raw.names(suffixes=SUFFIXES)
    pictures = [name for name in raw.names() if name not in videos and is_picture(raw.path(name))]
    if pictures and videos:
        raise DatasetError(
            "pictures and videos side by side", expected="the frames of one recording, or videos", where=path,
            found=f"{len(pictures)} pictures such as {pictures[0]}, {len(videos)} videos such as {videos[0]}",
            fix=f"move the pictures into their own folder, or list the recordings in {MANIFEST}",
        )  # fmt: skip
    folders = [] if pictures else [name for name in raw.folders() if _holds_pictures(raw, name)]
    _warn_of_others(raw, {*pictures, *videos, *folders}, all_files=not pictures)
    if pictures:
        return raw, Collection(recordings=(_recording(".", path.name, is_video=False),))
    found = [_recording(name, Path(name).stem, is_video=True) for name in videos]
    found += [_recording(name, name, is_video=False) for name in folders]
    if not found:
        raise DatasetError(
            "no recordings in this folder", where=path,
            expected=f"{MANIFEST}, videos ({', '.join(SUFFIXES)}), pictures, or folders of pictures",
        )  # fmt: skip
    by_id: dict[str, Recording] = {}
    for recording in found:
        other = by_id.setdefault(recording.id.lower(), recording)
        if other is not recording:
            raise DatasetError(
                "two recordings whose names give the same id", where=path,
                found=f"{other.frames} and {recording.frames}", fix="rename one of them",
            )  # fmt: skip
    return raw, Collection(recordings=tuple(found))


def _holds_pictures(raw: RawFolder, folder: str) -> bool:
    return any(is_picture(raw.path(f"{folder}/{name}")) for name in raw.names(folder))


def _warn_of_others(raw: RawFolder, used: set[str], *, all_files: bool) -> None:
    """Name what is not used; the files beside pictures are named in the warnings of their clips."""
    others = {name: "neither a video nor a picture" for name in raw.names() if all_files}
    others |= dict.fromkeys(raw.folders(), "a folder without pictures right in it" if all_files else "a folder")
    for sentence in describe_left_out({name: why for name, why in others.items() if name not in used}):
        log.warning("%s: %s", raw.root, sentence)


def identifier(name: str) -> str:
    """Return a name as letters, digits, `_`, `-` and `.`, fit for a clip or dataset: IMG 0123 becomes IMG_0123.

    Of names in other scripts too little remains to tell them apart; they get eight digits of a digest.
    """
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:100]
    if not name.isascii() and not re.search("[A-Za-z]", kept):
        own = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
        return f"{kept or 'recording'}_{own}"
    return kept or "recording"


def _recording(frames: str, name: str, *, is_video: bool) -> Recording:
    key = identifier(name)
    return Recording(id=key, frames=frames, is_video=is_video, group=key)
