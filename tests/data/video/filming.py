"""Small recordings for tests: videos whose every frame carries its number, and labelled ones with exact truth."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.data.toy import Shape, toy_clip

BITS = 8
SIZE = (48, 64)


def numbered(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A picture with 8 vertical bars that are the bits of `number`, over a band that only its top row has."""
    height, width = size
    bars = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bars, np.uint8) * 200 + 20, width // BITS)
    picture = np.broadcast_to(row[None, :, None], (height, width, 3)).copy()
    picture[: height // 8] = (255, 0, 0)
    return picture


def number_of(picture: NDArray[Any]) -> int:
    """Read the number back, from the lower half."""
    grey = picture[picture.shape[0] // 2 :].mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1)
    return int(sum(1 << bit for bit in range(BITS) if grey[bit] > 120))


def film(
    path: Path,
    count: int,
    *,
    stamps: Sequence[int] | None = None,
    rotation: int = 0,
    gop: int = 12,
    b_frames: int = 2,
    codec: str = "libx264",
    cover: bool = False,
    audio: bool = False,
    options: Mapping[str, str] | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
) -> Path:
    """Write a video of `count` numbered frames (or the given pictures) at 25 per second, or at times of 1/1000 s."""
    with av.open(str(path), "w", options=dict(options or {})) as container:
        if audio:
            sound: Any = container.add_stream("aac", rate=16000)
        if cover:
            tiny: Any = container.add_stream("mjpeg", rate=1)
            tiny.width, tiny.height, tiny.pix_fmt = 32, 32, "yuvj420p"
            tiny.disposition = av.stream.Disposition.attached_pic
        stream: Any = container.add_stream(codec, rate=25)
        first = numbered(0) if pictures is None else pictures[0]
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if codec == "libx264":
            stream.options = {
                "crf": "18",
                "preset": "ultrafast",
                "sc_threshold": "0",
                "x264-params": f"bframes={b_frames}:b-adapt=0",
            }
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if cover:
            still = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(tiny.encode(still))
            container.mux(tiny.encode(None))
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(i) if pictures is None else pictures[i], format="rgb24")
            frame.pts = i if stamps is None else stamps[i]
            frame.time_base = Fraction(1, 25) if stamps is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 16000
            container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return path


def picture_bytes(pixels: NDArray[Any], form: str = "JPEG", **options: Any) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def labelled(folder: Path, names: Sequence[str], *, frames: int = 81, video: bool = True) -> dict[str, Any]:
    """Write recordings with poses, depth and masks at the query frames, and their manifest; return the manifest.

    The scene is the one of `tests.data.toy`: squares on a wall 3 m away, which a camera slides along.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recordings = []
    for name in names:
        clip = toy_clip(name, Shape(frames=frames, frame_size=(48, 64), gt_size=(48, 64)))
        assert clip.depth is not None and clip.instance is not None
        pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in clip.frames]
        if video:
            film(folder / f"{name}.mp4", frames, pictures=pictures)
        else:
            (folder / name).mkdir()
            for i, content in enumerate(clip.frames):
                (folder / name / f"{i}.jpg").write_bytes(content)
        for kind in ("depth", "masks"):
            (folder / f"{name}_{kind}").mkdir()
        for i, position in enumerate(clip.gt_frames):
            depth = np.round(clip.depth[i] * 1000).astype(np.uint16)
            (folder / f"{name}_depth" / f"{position}.png").write_bytes(picture_bytes(depth, "PNG"))
            mask = clip.instance[i].astype(np.uint8) * 10
            (folder / f"{name}_masks" / f"{position:05d}.png" if video else folder / f"{name}_masks" / f"{position}.png"
             ).write_bytes(picture_bytes(mask, "PNG"))  # fmt: skip
        k = clip.intrinsics[0]
        poses = [{"frame": i, "cam2world": pose.tolist()} for i, pose in enumerate(clip.cam2world)]
        (folder / f"{name}_poses.json").write_text(json.dumps(poses))
        recordings.append(
            {
                "id": name,
                "frames": f"{name}.mp4" if video else name,
                "camera": {"size": [64, 48], "fx": float(k[0, 0]), "fy": float(k[1, 1]), "cx": 32.0, "cy": 24.0},
                "poses": f"{name}_poses.json",
                "depth": {"folder": f"{name}_depth", "unit": 0.001},
                "instances": {
                    "folder": f"{name}_masks",
                    "objects": [
                        {"id": 10, "class": "wall", "thing": False},
                        {"id": 20, "class": "chair", "label": "armchair"},
                        {"id": 30, "label": "ceiling", "thing": False},
                    ],
                },
            }
        )
    manifest = {
        "format": "spatialprobe-recordings",
        "version": 1,
        "units": "metres",
        "licence": "made up",
        "classes": ["wall", "chair"],
        "recordings": recordings,
    }
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json."""
    (folder / "manifest.json").write_text(json.dumps(manifest))
