"""The geometry probe: trunk, dense heads and an iterative camera head, or linear read-outs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.module import heads_precision
from probe.net.attention import Block, Mlp
from probe.net.dpt import DptHead, stage_indices
from probe.net.linear import LinearDense
from probe.net.trunk import Trunk
from probe.tasks.geometry.config import CameraConfig, GeometryOptions
from probe.tasks.geometry.pose import axes_to_matrix, inverse, matrix_to_quaternion, rotate_vectors

POSE = 9  # translation 3, quaternion xyzw 4, fields of view 2
SOURCES = {
    "camera": ("camera",),
    "pooled": ("mean",),
    "both": ("camera", "mean"),
    "moments": ("camera", "mean", "across", "down"),
    "products": ("camera", "mean", "across", "down", "products"),
}
"""Value of `camera.tokens` -> what is read of a query."""


def raw_numbers(form: str) -> int:
    """Return how many raw numbers make a pose."""
    return POSE if form == "paper" else 11


def activate_pose(raw: Tensor, form: str) -> Tensor:
    """Turn raw numbers (..., S, `raw_numbers(form)`) into poses (..., S, 9).

    `paper`: translation and quaternion as they are, ReLU on the fields of view. `standard`: the camera's place in the
    frame of query 0 (3), two axes of its rotation from there as offsets from the identity (6), and softplus, which
    keeps a gradient, on the fields of view (2). Place and points are then in one frame, and a wrong rotation moves no
    camera. Query 0, the reference, stands in the origin by definition.
    """
    if form == "paper":
        return torch.cat([raw[..., :7], F.relu(raw[..., 7:])], dim=-1)
    motion = torch.cat([torch.zeros_like(raw[..., :1, :9]), raw[..., 1:, :9]], dim=-2)
    turned = motion[..., 3:] + motion.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    rotation = inverse(matrix_to_quaternion(axes_to_matrix(turned)))
    translation = -rotate_vectors(rotation, motion[..., :3])
    return torch.cat([translation, rotation, F.softplus(raw[..., 9:])], dim=-1)


def moment_weights(grid: tuple[int, int]) -> Tensor:
    """Return weights (3, h*w) whose products with patches are their mean and first moments across and down.

    Coordinates run over +-1 from border to border; moments are scaled so that all rows have the same norm.
    """
    rows, columns = grid
    down = (2 * torch.arange(rows) + 1 - rows) / rows
    across = (2 * torch.arange(columns) + 1 - columns) / columns
    planes = torch.stack([torch.ones(grid), across.expand(grid), down[:, None].expand(grid)]).flatten(1)
    spread = planes.square().mean(dim=1, keepdim=True).sqrt()
    return planes / spread.where(spread > 0, 1.0) / (rows * columns)


class CameraHead(nn.Module):
    """Refines the poses of all queries of a clip together, a few times with the same weights.

    Args:
        width: channels of a trunk stage.
        trunk_depth: pairs of the trunk; without any, camera tokens are the same for every clip.
        config: sizes and options.
        grid: rows and columns of the patches.

    Raises:
        ConfigError: camera tokens of a trunk without blocks, unless `at_depth_0` allows something else.
    """

    moments: Tensor

    def __init__(self, width: int, trunk_depth: int, config: CameraConfig, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.sources = SOURCES[config.tokens]
        if trunk_depth == 0 and config.tokens != "pooled":
            if config.at_depth_0 == "refuse":
                raise ConfigError(
                    "without trunk blocks the camera tokens are constants: every clip would get the same cameras",
                    expected="a trunk of depth 1 or more, or another source of tokens",
                    found=f"camera.tokens={config.tokens}",
                    fix="set camera.at_depth_0=pooled, or leave the camera out with loss.camera=0 at_depth_0=constant",
                )
            if config.at_depth_0 == "pooled":
                self.sources = tuple(name for name in self.sources if name != "camera") or ("mean",)
        inputs = len(self.sources) * width
        inner = config.width or inputs
        self.factors = nn.Linear(3 * width, 2 * width) if "products" in self.sources else None
        weights = moment_weights(grid).to(torch.get_default_device())
        self.register_buffer("moments", weights, persistent=False)
        self.token_norm = nn.LayerNorm(inputs)
        self.reduce: nn.Module = nn.Identity() if inner == inputs else nn.Linear(inputs, inner)
        raw = raw_numbers(config.form)
        self.empty_pose = nn.Parameter(torch.zeros(1, 1, raw))
        self.embed_pose = nn.Linear(raw, inner)
        self.modulation = nn.Linear(inner, 3 * inner)
        self.blocks = nn.ModuleList(
            Block(inner, config.heads, mlp_ratio=4, qk_norm=False, layer_scale=config.layer_scale, dropout=0.0)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(inner)
        self.branch = Mlp(inner, inner // 2, raw)
        self.start = nn.Linear(inputs, raw) if config.start else None
        if self.start is not None:
            nn.init.zeros_(self.branch.fc2.weight)
            nn.init.zeros_(self.branch.fc2.bias)

    def forward(self, stage: Tensor, specials: int) -> Tensor:
        """Estimate the cameras.

        Args:
            stage: (B, S, P, width), the trunk's last stage.
            specials: number of tokens before the patches.

        Returns:
            (iterations, B, S, 9) activated poses, the final ones last; layout of `encode_pose`.
        """
        seen = self._read(stage, specials)
        start = None if self.start is None else self.start(seen)
        tokens = self.reduce(self.token_norm(seen))
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        raw: Tensor | None = None
        poses = []
        for _ in range(self.config.iterations):
            # Carried over raw, not activated, and without gradient: each iteration learns its own step.
            before = None if raw is None else raw.detach()
            known = self.empty_pose.expand(*tokens.shape[:2], -1) if before is None else before
            if start is not None:
                known = known + start.detach()
            shift, scale, gate = self.modulation(F.silu(self.embed_pose(known))).chunk(3, dim=-1)
            x = tokens + gate * (normed * (1 + scale) + shift)
            for block in self.blocks:
                x = block(x)
            delta = self.branch(self.norm(x))
            raw = delta if before is None else before + delta
            full = raw if start is None else raw + start
            poses.append(activate_pose(full.float(), self.config.form))
        return torch.stack(poses)

    def _read(self, stage: Tensor, specials: int) -> Tensor:
        """Return what the head sees of each query, (B, S, sources * width)."""
        found = {"camera": stage[:, :, 0]}
        if self.sources != ("camera",):
            patches = stage[:, :, specials:]
            # The mean says where a camera looks; how features change across the picture says how it is turned.
            planes = self.moments.to(patches.dtype) @ patches
            found |= dict(zip(("mean", "across", "down"), planes.unbind(dim=2), strict=True))
            if self.factors is not None:
                # Where rays come from is in products of what their moments say, not in sums (bilinear maps).
                left, right = self.factors(planes.flatten(2)).chunk(2, dim=-1)
                found["products"] = left * right
        return torch.cat([found[name] for name in self.sources], dim=-1)


class LinearCamera(nn.Module):
    """Pose of a query from its mean token and that of query 0, the reference."""

    def __init__(self, channels: int, form: str) -> None:
        super().__init__()
        self.form = form
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(2 * channels, raw_numbers(form))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, S, h, w, C) to poses (1, B, S, 9), one iteration."""
        means = self.norm(features.to(self.norm.weight.dtype)).mean(dim=(2, 3))
        pair = torch.cat([means, means[:, :1].expand_as(means)], dim=-1)
        raw = self.project(pair.to(self.project.weight.dtype))
        return activate_pose(raw.float(), self.form)[None]


ImageSize = tuple[int, int]


class GeometryProbe(nn.Module):
    """Depth, point maps in the first camera's frame, and cameras."""

    def __init__(self, channels: int, grid: tuple[int, int], config: GeometryOptions, image_size: ImageSize) -> None:
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

    def forward(self, features: Tensor, image_size: ImageSize, query_times: Tensor | None = None) -> dict[str, Tensor]:
        """Predict geometry.

        Args:
            features: (B, S, h, w, C), any floating dtype; query 0 is the reference.
            image_size: height and width of the image that the maps cover.
            query_times: (B, S), for trunks with `query_time`.

        Returns:
            `depth` (B, S, H, W), positive; `points` (B, S, H, W, 3); `pose_steps` (iterations, B, S, 9) and `pose`
            (B, S, 9), the last of them. H, W = `probe.net.dpt.output_size(image_size, output_scale)`. All float32.
        """
        if self.trunk is None:
            poses, raw = self.camera(features), self.dense(features, image_size)
            depth, points = raw[..., 0], raw[..., 1:]
        else:
            stages = self.trunk(features, (*self.stages, -1), query_times)
            with heads_precision(stages[-1], self.heads_fp32):
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
