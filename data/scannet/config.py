"""Every option of the ScanNet importer, with its default, meaning and limits; presets in configs/dataset/scannet/."""

from __future__ import annotations

import dataclasses

from configs.errors import ConfigError
from configs.options import option

RULES = ("paper", "all")
"""Which frames become clips."""


@dataclasses.dataclass(frozen=True)
class ScannetConfig:
    """What the importer makes of a raw folder."""

    dataset: str = option("scannet", "name of the prepared dataset")
    scenes: list[str] = option(help="scans to import, for example scene0000_00; default all", factory=list)
    source: str = option(
        "auto", "what frames come from; auto: .sens where there is one", choices=("auto", "sens", "exported")
    )
    clips: str = option(
        "paper", "paper: one clip from the middle half of each scan; all: the whole scan cut into clips", choices=RULES
    )
    window: int = option(
        324,
        "clips=all: frames that a clip spans, at least; 324 are 10.8 s; below 81 positions repeat frames",
        minimum=20,
    )
    splits: str = option(
        "rooms",
        "rooms: a room is in one split, by the official lists or a hash; within (clips=all): each scan is cut into all "
        "three, to try things out on a single room; its scores say nothing about other rooms",
        choices=("rooms", "within"),
    )
    min_frames: int = option(20, "scans with fewer frames are refused", minimum=1)
    dense: str = option("query", "positions with dense ground truth: the 20 that probes ask for, or all 81",
                        choices=("query", "all"))  # fmt: skip
    taxonomy: str = option("scannet20", "classes", choices=("scannet20", "scannet200"))
    labels: str = option(
        "auto", "labels table: a path, auto (found below raw), or names (words that are class names count, no table)"
    )
    lists: str = option("auto", "folder of scannetv2_train.txt and scannetv2_val.txt; auto: found below raw; or none")
    annotations: str = option(
        "require", "instance and label images: without them a scan fails, or gets none; none reads none",
        choices=("require", "optional", "none"),
    )  # fmt: skip
    depth: str = option("require", "sensor depth: as for annotations", choices=("require", "optional", "none"))
    frame_height: int = option(0, "height of stored frames; 0 keeps the original JPEG bytes", minimum=0, maximum=4096)
    frame_width: int = option(0, "width of stored frames; 0 keeps the original JPEG bytes", minimum=0, maximum=4096)
    gt_height: int = option(0, "height of dense ground truth; 0: that of the colour images, at most 540", minimum=0)
    gt_width: int = option(0, "width of dense ground truth; 0: that of the colour images, at most 720", minimum=0)
    licence: str = option(
        "ScanNet: non-commercial research under its terms of use, which every user must accept",
        "terms written into the dataset; give your own for your own recordings in this layout",
    )
    jpeg_quality: int = option(90, "quality of frames that have to be encoded again", minimum=10, maximum=100)
    principal: str = option(
        "edges", "the raw principal point counts from the corner of the image (edges) or from the middle of the first "
        "pixel (centres; 0.5 is added)", choices=("edges", "centres"),
    )  # fmt: skip

    def check(self) -> None:
        """Refuse combinations that contradict each other.

        Raises:
            ConfigError: only one side of a size is given, or one clip per scan is to be cut into three splits.
        """
        if self.splits == "within" and self.clips != "all":
            raise ConfigError(
                "splits=within needs several clips per scan",
                found=f"clips={self.clips}",
                fix="add clips=all, and window= so that each scan gives three clips",
            )
        for what in ("frame", "gt"):
            height, width = getattr(self, f"{what}_height"), getattr(self, f"{what}_width")
            if (height == 0) != (width == 0):
                raise ConfigError(
                    f"{what}_height and {what}_width go together", found=f"{height} x {width}",
                    fix=f"give both, for example {what}_height=540 {what}_width=720, or neither",
                )  # fmt: skip
