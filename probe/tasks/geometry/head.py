"""The three probes: cached features in, a dictionary of predictions out."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from configs.errors import ConfigError
from probe.net.config import GeometryProfile, InstanceProfile, TaggingProfile
from probe.net.dpt import DptHead, stage_indices
from probe.net.linear import LinearCamera, LinearDense, LinearEmbedder, LinearTagger
from probe.net.trunk import Trunk
from probe.tasks.geometry.camera import CameraHead
from probe.tasks.instance.head import InstanceHead
from probe.tasks.tagging.class_embeddings import load_class_embeddings
from probe.tasks.tagging.head import TaggingHead

ImageSize = tuple[int, int]


class TaggingProbe(nn.Module):
    """Which classes a clip shows."""

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        config: TaggingProfile,
        num_classes: int,
        class_embeddings: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.heads_fp32 = config.heads_fp32
        self.trunk: Trunk | None = None
        if config.readout == "linear":
            self.linear = LinearTagger(channels, num_classes)
            return
        if class_embeddings is None and config.head.queries == "embeddings" and config.head.class_embeddings:
            class_embeddings = load_class_embeddings(config.head.class_embeddings, num_classes)
        self.trunk = Trunk(channels, grid, config.trunk)
        self.head = TaggingHead(self.trunk.stage_width, num_classes, config.head, class_embeddings)

    def forward(
        self, features: Tensor, image_size: ImageSize | None = None, view_times: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Map features (B, S, h, w, C) to `logits` (B, num_classes); `image_size` plays no part."""
        if self.trunk is None:
            return {"logits": self.linear(features)}
        stage = self.trunk(features, (-1,), view_times)[0]
        with _precision(stage, self.heads_fp32):
            patches = stage[:, :, self.trunk.specials :].flatten(1, 2)
            return {"logits": self.head(patches)}


class InstanceProbe(nn.Module):
    """Which cells belong to one object."""

    def __init__(self, channels: int, grid: tuple[int, int], config: InstanceProfile) -> None:
        super().__init__()
        self.heads_fp32, self.grid = config.heads_fp32, grid
        self.trunk: Trunk | None = None
        if config.readout == "linear":
            self.linear = LinearEmbedder(channels, config.head.channels)
            return
        self.trunk = Trunk(channels, grid, config.trunk)
        self.head = InstanceHead(self.trunk.stage_width, config.head)

    def forward(
        self, features: Tensor, image_size: ImageSize | None = None, view_times: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Map features (B, S, h, w, C) to `embeddings` (B, S, E, h, w), unit vectors; `image_size` plays no part."""
        if self.trunk is None:
            return {"embeddings": self.linear(features).movedim(-1, 2)}
        stage = self.trunk(features, (-1,), view_times)[0]
        with _precision(stage, self.heads_fp32):
            patches = stage[:, :, self.trunk.specials :].unflatten(2, self.grid)
            return {"embeddings": self.head(patches).movedim(-1, 2)}


class GeometryProbe(nn.Module):
    """Depth, point maps in the first camera's frame, and cameras."""

    def __init__(self, channels: int, grid: tuple[int, int], config: GeometryProfile, image_size: ImageSize) -> None:
        super().__init__()
        self.heads_fp32, dpt = config.heads_fp32, config.dpt
        self.output_scale, self.shared = dpt.output_scale, dpt.shared
        self.trunk: Trunk | None = None
        if config.readout == "linear":
            self.dense = LinearDense(channels, 4, dpt.output_scale)
            self.camera = LinearCamera(channels, config.camera.form)
            return
        self.trunk = Trunk(channels, grid, config.trunk)
        self.stages = stage_indices(dpt.stages, config.trunk.depth)
        width, extra = self.trunk.stage_width, int(dpt.confidence)
        if dpt.shared:
            self.dense_head = DptHead(width, grid, 4, dpt, image_size)
        else:
            self.depth_head = DptHead(width, grid, 1 + extra, dpt, image_size)
            self.point_head = DptHead(width, grid, 3 + extra, dpt, image_size)
        self.camera_head = CameraHead(width, config.trunk.depth, config.camera, grid)

    def forward(self, features: Tensor, image_size: ImageSize, view_times: Tensor | None = None) -> dict[str, Tensor]:
        """Predict geometry.

        Args:
            features: (B, S, h, w, C), any floating dtype; view 0 is the reference.
            image_size: height and width of the image that the maps cover.
            view_times: (B, S), for trunks with `view_time`.

        Returns:
            `depth` (B, S, H, W), positive; `points` (B, S, H, W, 3); `pose_steps` (iterations, B, S, 9) and `pose`
            (B, S, 9), the last of them. H, W = `probe.heads.dpt.output_size(image_size, output_scale)`. All float32.
        """
        if self.trunk is None:
            poses, raw = self.camera(features), self.dense(features, image_size)
            depth, points = raw[..., 0], raw[..., 1:]
        else:
            stages = self.trunk(features, (*self.stages, -1), view_times)
            with _precision(stages[-1], self.heads_fp32):
                poses = self.camera_head(stages[-1], self.trunk.specials)
                patches = [stage[:, :, self.trunk.specials :] for stage in stages[:-1]]
                depth, points = self._dense(patches, image_size)
        # Confidence channels of published weights were never trained, so they're never read. Activations in float32.
        depth, points = depth.float().exp(), points.float()
        points = points.sign() * points.abs().expm1()
        return {"depth": depth, "points": points, "pose_steps": poses, "pose": poses[-1]}

    def _dense(self, patches: list[Tensor], image_size: ImageSize) -> tuple[Tensor, Tensor]:
        if self.shared:
            raw = self.dense_head(patches, image_size)
            return raw[..., 0], raw[..., 1:4]
        return self.depth_head(patches, image_size)[..., 0], self.point_head(patches, image_size)[..., :3]


def build_probe(
    task: str,
    channels: int,
    grid: tuple[int, int],
    profile: TaggingProfile | InstanceProfile | GeometryProfile,
    *,
    num_classes: int | None = None,
    image_size: ImageSize | None = None,
    class_embeddings: Tensor | None = None,
) -> TaggingProbe | InstanceProbe | GeometryProbe:
    """Return the probe of a task, freshly initialised from torch's global generator.

    Args:
        task: `tagging`, `instance` or `geometry`.
        channels: width C of the features.
        grid: rows and columns of the features.
        profile: that task's part of a profile.
        num_classes: tagging only.
        image_size: geometry only, height and width for which position codes are kept ready; default 14 times the grid.
        class_embeddings: tagging only, (num_classes, E) instead of the file that the profile names.

    Raises:
        ConfigError: sizes that don't fit together, or a task and a profile of different tasks.
    """
    heads, width = profile.trunk.heads, profile.trunk.width
    if profile.readout == "probe" and width % (4 * heads):
        raise ConfigError(
            "trunk.width must be a multiple of 4 times trunk.heads",
            expected=f"a multiple of {4 * heads}",
            found=width,
            fix=f"set trunk.width={math.ceil(width / (4 * heads)) * 4 * heads}",
        )
    if task == "tagging" and isinstance(profile, TaggingProfile):
        if num_classes is None or num_classes < 1:
            raise ConfigError("a tagging probe needs the number of classes", expected="1 or more", found=num_classes)
        return TaggingProbe(channels, grid, profile, num_classes, class_embeddings)
    if task == "instance" and isinstance(profile, InstanceProfile):
        return InstanceProbe(channels, grid, profile)
    if task == "geometry" and isinstance(profile, GeometryProfile):
        return GeometryProbe(channels, grid, profile, image_size or (14 * grid[0], 14 * grid[1]))
    raise ConfigError(
        f"no probe for task {task!r} with a {type(profile).__name__}",
        expected="tagging, instance or geometry, with the same part of a profile",
    )


def _precision(stage: Tensor, fp32: bool) -> AbstractContextManager[object]:
    """Leave autocast for the heads, as published, or stay in it."""
    return torch.autocast(stage.device.type, enabled=False) if fp32 else nullcontext()
