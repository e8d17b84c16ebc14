"""Every option of the DL3DV importer, with its default, meaning and limits."""

from __future__ import annotations

import dataclasses
import re

from configs.errors import ConfigError
from configs.options import option

IMAGES = ("auto", "images_4", "images_8", "images_2", "images", "video")
TEACHERS = ("none", "colmap", "vggt", "oracle")

RULES = ("paper", "first", "all")
"""Which frames become clips."""


@dataclasses.dataclass(frozen=True)
class DL3DVConfig:
    """What is imported, and where its geometry comes from. `check` holds the rules that involve more than one key."""

    dataset: str = option("dl3dv", "name of the prepared dataset")
    images: str = option(
        "auto", "folder of the frames; auto takes the first that exists, images_4 before images_8", choices=IMAGES
    )
    clips: str = option(
        "paper",
        "frames of a scene that become clips: the published window, the first one, or all that fit",
        choices=RULES,
    )
    window: int = option(150, "positions per clip; shorter scenes are taken whole", minimum=1, maximum=1000)
    image_size: str = option(
        "any",
        "<width>x<height> of the raw images: scenes of another size, upright ones for example, are refused; or any",
    )
    min_frames: int = option(20, "scenes with fewer frames are refused", minimum=2)
    scenes: list[str] = option(help="hashes to import; default all that are found", factory=list)
    undistort: bool = option(False, "resample frames to a pinhole; false keeps the pixels and records the coefficients")
    long_side: int = option(0, "pixels of the longer side of stored frames; 0 keeps the size", minimum=0, maximum=4096)
    jpeg_quality: int = option(95, "quality of frames that have to be encoded, 4:4:4", minimum=10, maximum=100)
    video_step: int = option(1, "images=video: take every n-th frame of the video", minimum=1, maximum=1000)
    video_poses: bool = option(
        False, "images=video: the k-th frame taken is frame_<k> of transforms.json; otherwise none has a pose"
    )
    teacher: str = option(
        "colmap", "geometry: poses of transforms.json, VGGT, stored truth of emitted rooms, or none", choices=TEACHERS
    )
    checkpoint: str = option("facebook/VGGT-1B", "teacher=vggt: hub id, or a local folder or .safetensors file")
    revision: str | None = option(None, "teacher=vggt: revision on the hub; default its main branch")
    device: str = option("auto", "teacher=vggt: auto, cpu, cuda or cuda:<n>")
    teacher_side: int = option(
        518, "teacher=vggt: pixels of the longer side that it sees, a multiple of 14", minimum=28, maximum=1036
    )
    teacher_batch: int = option(1, "teacher=vggt: clips of one size per forward pass", minimum=1, maximum=64)

    def check(self) -> None:
        """Refuse combinations that contradict each other.

        Raises:
            ConfigError: two keys contradict each other.
        """
        if self.image_size != "any" and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", self.image_size):
            raise ConfigError(
                "image_size is not a size", expected="any, or for example 960x540", found=self.image_size,
                fix="add image_size=960x540, or leave it out",
            )  # fmt: skip
        if self.teacher_side % 14:
            raise ConfigError(
                "teacher_side must be a multiple of the patch size", expected="14, 28, ..., 518",
                found=self.teacher_side, fix=f"for example teacher_side={round(self.teacher_side / 14) * 14}",
            )  # fmt: skip
        if self.min_frames > self.window and self.clips != "paper":
            raise ConfigError(
                "min_frames is above window", expected=f"at most {self.window}", found=self.min_frames,
                fix=f"add min_frames={self.window}",
            )  # fmt: skip
        if self.images == "video" and self.clips == "all":
            raise ConfigError(
                "clips=all needs the number of frames in advance, which a video doesn't provide",
                expected="clips=paper or clips=first", found="images=video", fix="add clips=first",
            )  # fmt: skip
        if self.images == "video" and not self.video_poses and self.teacher in ("colmap", "oracle"):
            raise ConfigError(
                f"teacher={self.teacher} needs to know which frames of the video transforms.json refers to",
                found="video_poses=false", fix="add teacher=none or teacher=vggt, or video_poses=true video_step=<n>",
            )  # fmt: skip

    def parameters(self) -> dict[str, object]:
        """Return all keys that change a value of a clip; the teacher adds the identity of its weights."""
        values = dataclasses.asdict(self)
        for key in ("dataset", "scenes", "device", "teacher_batch", "checkpoint", "revision"):  # weights go by content
            del values[key]
        if self.teacher != "vggt":
            del values["teacher_side"]
        return values
