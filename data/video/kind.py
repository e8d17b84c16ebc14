"""Own videos and folders of pictures as a kind of dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from configs.cli import Layers
from configs.loader import load_named
from configs.options import inline, option
from data.dataset.clip import ClipSource
from data.prepare.config import ImportConfig, Kind
from data.video.config import VideoConfig
from data.video.discover import identifier
from data.video.source import VideoSource


@dataclasses.dataclass(frozen=True)
class PrepareVideo(ImportConfig):
    """Options of `prepare kind=video`."""

    raw: str = option(help="a video, a folder of videos or pictures, or a folder with manifest.json")
    dataset: str = option("video", "name of the prepared dataset; default: the name of the raw file or folder")
    video: VideoConfig = inline(VideoConfig)
    preset: str = option("default", "named set of values in configs/dataset/video/")

    def clip_source(self) -> ClipSource:
        """Return the recordings at `raw`."""
        return VideoSource(self.video, self.raw_path(), self.dataset)


def _layers(overrides: Mapping[str, str]) -> Layers[PrepareVideo]:
    values = [load_named("dataset/video", overrides.get("preset", "default"), kind="preset")]
    if overrides.get("raw"):
        path = Path(overrides["raw"]).expanduser().absolute()
        folder = path.parent if path.name == "manifest.json" else path
        values.append({"dataset": identifier(folder.stem if path.is_file() else folder.name)})
    return Layers(PrepareVideo(), values)


KIND = Kind(_layers)
