"""Reads one video file through FFmpeg: which frames it has, when they are shown, and exactly those asked for.

Frames are identified by their time stamps, never by counting from a seek. What the decoder can't decode is refused,
with everything that was predicted from it; nothing is concealed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,h264,hevc,m4v,mxf"
"""Containers that are opened; playlists, which name other files, are not among them."""
SUFFIXES = (
    ".mp4",
    ".mov",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mts",
    ".m2ts",
    ".ts",
    ".mpg",
    ".mpeg",
    ".3gp",
    ".wmv",
    ".ogv",
)
SHORTFALL_S = 0.5
"""A file whose frames end this much before its announced duration (and 5 % of it) was cut off."""
GAP_S = 1.0
_HOLE = {"h264": 16, "hevc": 16}
"""Zero bytes in a row that a codec never writes; such runs are holes of broken copies, which decoders pass over."""
_HOLE_OTHERS = 1024
_HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class VideoIndex:
    """What is in a video file.

    Attributes:
        stamps: (N,) int64 presentation time stamps of its frames in units of the stream, increasing.
        seconds: (N,) float64 the same in seconds after the first.
        announced: frames that its header promises, None if it does not say.
        cut_off: what shows that the end is missing, "" if nothing does.
        warnings: what is odd about the file, one sentence each.
    """

    stamps: NDArray[np.int64]
    seconds: NDArray[np.float64]
    announced: int | None
    cut_off: str
    warnings: tuple[str, ...]


def index_video(path: Path, stream: int | None = None) -> VideoIndex:
    """List the frames of a video without decoding them.

    Args:
        path: the file.
        stream: number of the stream; None for the best video stream that is no cover picture.

    Raises:
        DatasetError: not a video, cut off before its index, or without frames.
    """
    stamps: list[int] = []
    unstamped = 0
    with _opened(path, stream) as (container, video):
        try:
            for packet in container.demux(video):
                if packet.size and not packet.is_discard:
                    unstamped += packet.pts is None
                    if packet.pts is not None:
                        stamps.append(packet.pts)
        except Exception as error:
            stopped = f"reading stops after {len(stamps)} frames: {error}"
        else:
            stopped = ""
        base, announced = float(video.time_base or 0), video.frames or None
        duration = _duration(container, video)
        transfer = int(video.codec_context.color_trc or 0)
        ratio = video.sample_aspect_ratio
    if unstamped:
        raise DatasetError(
            "frames without time stamps", found=f"{unstamped} of {unstamped + len(stamps)}", where=path,
            fix=f"put it into a container that has them: ffmpeg -i {path.name} -c copy fixed.mkv",
        )  # fmt: skip
    if not stamps or base <= 0:
        raise DatasetError("a video without frames", found=stopped or None, where=path)
    unique = np.unique(np.asarray(stamps, np.int64))
    seconds = (unique - unique[0]) * base
    interval = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    if announced is not None and len(stamps) < announced:
        stopped = stopped or f"{len(stamps)} of {announced} frames are there"
    elif duration is not None and seconds[-1] + interval < min(duration - SHORTFALL_S, 0.95 * duration):
        stopped = stopped or f"{seconds[-1] + interval:.2f} of {duration:.2f} s are there"
    notes = []
    if (largest := float(np.diff(seconds).max(initial=0))) > max(GAP_S, 10 * interval):
        at = float(seconds[int(np.argmax(np.diff(seconds)))])
        notes.append(f"nothing was recorded for {largest:.1f} s after {at:.1f} s")
    if transfer in _HDR:
        notes.append(f"recorded in HDR ({_HDR[transfer]}); colours are taken over without tone mapping")
    if ratio is not None and ratio not in (0, 1):
        notes.append(f"pixels are not square ({ratio}); frames are kept as stored")
    return VideoIndex(unique, seconds, announced, stopped, tuple(notes))


def read_frames(
    path: Path, stamps: Sequence[int], stream: int | None = None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (stamp, frame) for some frames of a video, each (H, W, 3) uint8 RGB, turned as players show it.

    Args:
        path: the file.
        stamps: time stamps of the frames, increasing, from `index_video`.
        stream: as for `index_video`.

    Raises:
        DatasetError: one of them can't be decoded; says which and at what time.
    """
    left = list(stamps)
    for start in (left[0], None):  # a wrong index of the container may lead behind the target: then from the beginning
        for stamp, frame in _decode(path, left, stream, start):
            left.remove(stamp)
            yield stamp, frame
        if not left:
            return
    with _opened(path, stream) as (_, video):
        second = float((left[0] - (video.start_time or 0)) * (video.time_base or 0))
    raise DatasetError(
        f"{len(left)} of {len(stamps)} frames of this clip can't be decoded; the first at {second:.2f} s",
        where=path, fix="copy the recording again, or accept the loss with allowed_failures=",
    )  # fmt: skip


def _decode(
    path: Path, stamps: Sequence[int], stream: int | None, start: int | None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode from the key frame before `start` and yield the wanted frames that came out clean, in order."""
    wanted, last = set(stamps), max(stamps)
    spoilt: set[int] = set()  # packets that failed, and all after them up to the next key frame
    poisoned = False
    clean_from: int | None = None  # frames shown before this key frame refer to what came before it
    with _opened(path, stream) as (container, video):
        hole = bytes(_HOLE.get(video.codec_context.name, _HOLE_OTHERS))
        if start is not None:
            try:
                container.seek(start, stream=video)
            except Exception:
                return
        for packet in _packets(container, video):
            damaged = packet.size > 0 and (packet.is_corrupt or hole in bytes(packet))
            if (
                packet.is_keyframe
                and packet.pts is not None
                and (poisoned or (clean_from is None and start is not None))
            ):
                poisoned, clean_from = False, packet.pts
            poisoned = poisoned or damaged
            frames: list[Any] = []
            try:
                frames = packet.decode()
            except Exception:
                poisoned = True
            if packet.pts is not None and (poisoned or (clean_from is not None and packet.pts < clean_from)):
                spoilt.add(packet.pts)
            for frame in frames:
                if frame.pts in wanted and frame.pts not in spoilt and not frame.is_corrupt:
                    yield frame.pts, _rgb(frame, path)
                if frame.pts is not None and frame.pts >= last:
                    return


def _packets(container: Any, video: Any) -> Iterator[Any]:
    """Packets until the end, or until the container itself can't be read on."""
    try:
        yield from container.demux(video)
    except Exception:
        return


def _rgb(frame: Any, path: Path) -> NDArray[np.uint8]:
    if frame.rotation % 90:
        raise DatasetError("a rotation that is not a quarter turn", found=f"{frame.rotation} degrees", where=path)
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90 % 4))


@contextmanager
def _opened(path: Path, stream: int | None) -> Iterator[tuple[Any, Any]]:
    """Open a file and choose its stream; the decoder stops at errors and uses one thread."""
    import av

    if not path.is_file():  # opening a pipe would wait for ever
        raise DatasetError("not a regular file", expected="a video", where=path)
    if path.stat().st_size == 0:
        raise DatasetError("an empty file of 0 bytes", expected="a video", where=path)
    try:
        container = av.open(str(path), options={"format_whitelist": FORMATS, "protocol_whitelist": "file"})
    except Exception as error:  # the library has thirty types of errors
        raise DatasetError(
            "not a video that can be played", expected="MP4, MOV, MKV, WebM, AVI or the like",
            found=_why_unreadable(path) or str(error), where=path, fix="copy or export the recording again",
        ) from error  # fmt: skip
    with container:
        video = _choose(container, path, stream)
        video.codec_context.options = {"err_detect": "explode"}
        video.codec_context.thread_count = 1
        yield container, video


def _choose(container: Any, path: Path, number: int | None) -> Any:
    from av.stream import Disposition

    usable = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if number is not None:
        usable = [s for s in usable if s.index == number]
    if not usable:
        kinds = ", ".join(f"{s.index} {s.type}" for s in container.streams) or "none"
        asked = "a video stream" if number is None else f"a video stream of number {number}"
        raise DatasetError("no such stream in this file", expected=asked, found=f"streams: {kinds}", where=path)
    best = container.streams.best("video")
    return best if best in usable else max(usable, key=lambda s: (s.codec_context.width or 0, -s.index))


def _duration(container: Any, video: Any) -> float | None:
    """Announced seconds of the stream or, if it has none, of the file."""
    if video.duration is not None and video.time_base:
        return float(video.duration * video.time_base)
    return container.duration / 1e6 if container.duration else None


def _why_unreadable(path: Path) -> str | None:
    """Tell the most frequent reasons apart: an MP4 that lost its end and so its index, zeros, a text."""
    with path.open("rb") as file:
        head = file.read(1 << 12)
    if not any(head):
        return "zeros only"
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return "an MP4 without its index (moov), which is written last: the recording was cut off"
    if head.startswith((b"#EXTM3U", b"ffconcat", b"<?xml")):
        return "a playlist or text, which names other files"
    return None
