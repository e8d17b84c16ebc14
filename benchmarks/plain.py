"""The published recipe, implemented straightforwardly: what `benchmarks.probe` measures the project against.

`make_plain` turns a probe of the profile `paper` into one that computes the same numbers from the same weights
(tests/probe/tasks/test_plain.py) in the way of the published code's behaviour:

- features turned to channels first and back, LayerNorm with its own gain in front of the input Linear;
- rotary tables looked up by position for queries and for keys in every block, their size asked of the data;
- dropout of the library, AdamW parameter by parameter, every block recomputed in the backward pass;
- tagging: one Linear per class, in a loop;
- instance: all embeddings enlarged to the size of the masks before pixels are drawn from the list of all valid ones;
- geometry: channels-first maps, 1x1 convolutions behind the enlargements, position codes of whole maps made anew in
  float64 in every pass, confidences that nobody reads, losses by boolean indexing, first and other queries apart, with
  checks for NaN, and the spatial gradient terms at weight 0.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from probe.net.attention import Attention, Block, Dropout
from probe.net.dpt import UV_BASE, UV_GAIN, DptHead, Fusion, UvEmbedding, output_size, resize
from probe.net.trunk import Trunk
from probe.tasks.geometry.head import GeometryProbe
from probe.tasks.geometry.loss import camera_paper, gradient_term, normalised
from probe.tasks.instance.config import InstanceLossConfig
from probe.tasks.tagging.head import TaggingHead
from probe.train.recipe import RecipeConfig

ROTARY_BASE = 100.0


class PlainAttention(Attention):
    """Attention that looks its rotary tables up; `positions` instead of tables."""

    def forward(self, x: Tensor, tables: Any = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if tables is not None:
            q, k = _rotate(q, tables), _rotate(k, tables)
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        out: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return out


class PlainBlock(Block):
    """Block that scales its branches and then adds them."""

    def forward(self, x: Tensor, tables: Any = None) -> Tensor:
        x = x + self.ls1.gamma * self.attn(self.norm1(x), tables)
        out: Tensor = x + self.ls2.gamma * self.mlp(self.norm2(x))
        return out


def _rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotate (B, heads, tokens, d) by positions (B, tokens, 2): first half by row, second by column."""
    cosines, sines = _rotary_tables(int(positions.max()) + 1, x.shape[-1] // 2, x.device)
    parts = []
    for axis, part in enumerate(x.chunk(2, dim=-1)):
        cosine = F.embedding(positions[..., axis], cosines)[:, None]
        sine = F.embedding(positions[..., axis], sines)[:, None]
        first, second = part.chunk(2, dim=-1)
        parts.append(part * cosine + torch.cat([-second, first], dim=-1) * sine)
    return torch.cat(parts, dim=-1)


@functools.cache
def _rotary_tables(places: int, half: int, device: torch.device) -> tuple[Tensor, Tensor]:
    bands = ROTARY_BASE ** (-torch.arange(0, half, 2, device=device, dtype=torch.float32) / half)
    angles = (torch.arange(places, device=device, dtype=torch.float32)[:, None] * bands).repeat(1, 2)
    return angles.cos(), angles.sin()


class PlainTrunk(Trunk):
    """Trunk on features that arrive channels first."""

    def forward(
        self, features: Tensor, stages: Sequence[int] = (-1,), query_times: Tensor | None = None
    ) -> list[Tensor]:
        b, s, h, w, _ = features.shape
        features = features.permute(0, 1, 4, 2, 3)
        flat = features.flatten(0, 1).flatten(2).transpose(1, 2).to(self.camera_token.dtype)
        patches = self.input_proj(self.input_norm(flat))
        special = torch.cat([self.camera_token, self.register_token], dim=2)
        special = torch.cat([special[:, :1], special[:, 1:].expand(-1, s - 1, -1, -1)], dim=1)
        special = special.expand(b, -1, -1, -1).flatten(0, 1)
        x = torch.cat([special, patches.to(special.dtype)], dim=1)
        rows, columns = (torch.arange(1, n + 1, device=x.device) for n in (h, w))
        cells = torch.cartesian_prod(rows, columns)
        positions = torch.cat([cells.new_zeros(self.specials, 2), cells])
        within_queries, across_queries = positions.expand(b * s, -1, -1), positions.repeat(s, 1).expand(b, -1, -1)
        outputs = []
        for frame, across in zip(self.frame_blocks, self.global_blocks, strict=True):
            within = self._run(frame, x, within_queries)
            x = self._run(across, within.reshape(b, -1, within.shape[-1]), across_queries).view_as(within)
            outputs.append(torch.cat([within, x], dim=-1).view(b, s, x.shape[1], -1))
        return [outputs[index] for index in stages]

    def _run(self, block: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
        out: Tensor = checkpoint(block, x, positions, use_reentrant=False)
        return out


class PlainTagging(TaggingHead):
    """Head with one Linear per class in `parts`."""

    parts: nn.ModuleList

    def forward(self, patches: Tensor) -> Tensor:
        memory = self.in_proj(patches)
        x = self.queries.to(memory.dtype).expand(len(patches), -1, -1)
        for layer in self.layers:
            x = layer(x, memory)
        return torch.cat([part(x[:, i]) for i, part in enumerate(self.parts)], dim=1)


class PlainUv(UvEmbedding):
    """Makes the code of every pixel, in float64, for this very call."""

    def forward(self, x: Tensor, aspect: float) -> Tensor:
        height, width = x.shape[-2:]
        diagonal = (aspect**2 + 1) ** 0.5
        u, v = (
            torch.linspace(-e * (n - 1) / n, e * (n - 1) / n, n, dtype=torch.float64, device=x.device)
            for e, n in ((aspect / diagonal, width), (1 / diagonal, height))
        )
        omega = UV_BASE ** (
            -torch.arange(self.channels // 4, dtype=torch.float64, device=x.device) / (self.channels // 4)
        )
        codes = []
        for places in torch.meshgrid(u, v, indexing="xy"):
            angles = places.flatten()[:, None] * omega
            codes += [angles.sin(), angles.cos()]
        code = torch.cat(codes, dim=-1).float().view(height, width, -1).permute(2, 0, 1)
        return x + (UV_GAIN * code)[None].expand(len(x), -1, -1, -1).to(x.dtype)


class PlainFusion(Fusion):
    """Enlarges first and convolves then."""

    def forward(self, level: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = level if self.lateral is None or coarser is None else coarser + self.lateral(level)
        out: Tensor = self.out_conv(resize(self.refine(x), size))
        return out


class PlainDpt(DptHead):
    """Dense head on channels-first maps."""

    def forward(self, stages: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        b, s = stages[0].shape[:2]
        aspect = image_size[1] / image_size[0]
        maps: list[Tensor] = []
        for stage, project, code, enlarge, lateral in zip(
            stages, self.projects, self.codes, self.resizes, self.laterals, strict=True
        ):
            x = self.norm(stage.flatten(0, 1)).permute(0, 2, 1).reshape(b * s, -1, *self.grid)
            maps.append(lateral(enlarge(code(project(x), aspect))))
        x = None
        for level in (3, 2, 1, 0):
            height, width = maps[0].shape[-2:]
            size = tuple(maps[level - 1].shape[-2:]) if level else (2 * height, 2 * width)
            x = self.fusions[level](maps[level], x, size)
        x = resize(self.output_conv1(x), output_size(image_size, self.output_scale))
        x = self.output_conv3(F.relu(self.output_conv2(self.output_code(x, aspect))))
        out: Tensor = x.permute(0, 2, 3, 1).reshape(b, s, *x.shape[-2:], -1)
        return out


class PlainGeometry(GeometryProbe):
    """Returns the confidences, too."""

    def forward(
        self, features: Tensor, image_size: tuple[int, int], query_times: Tensor | None = None
    ) -> dict[str, Tensor]:
        outputs = super().forward(features, image_size, query_times)
        depth, points = self.__dict__.pop("confidences")
        return {**outputs, "depth_confidence": depth, "points_confidence": points}

    def _dense(self, patches: list[Tensor], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        depth, points = self.depth_head(patches, image_size), self.point_head(patches, image_size)
        self.__dict__["confidences"] = [1 + raw[..., -1].exp() for raw in (depth, points)]
        return depth[..., 0], points[..., :-1]


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    Attention: PlainAttention,
    Block: PlainBlock,
    Dropout: nn.Dropout,
    Trunk: PlainTrunk,
    TaggingHead: PlainTagging,
    UvEmbedding: PlainUv,
    Fusion: PlainFusion,
    DptHead: PlainDpt,
    GeometryProbe: PlainGeometry,
}


def make_plain(probe: nn.Module) -> None:
    """Let a probe of the profile `paper` compute the straightforward way; weights stay as they are."""
    for module in list(probe.modules()):
        if isinstance(module, TaggingHead):
            module.parts = nn.ModuleList(nn.Linear(module.classifier.in_features, 1) for _ in module.classifier.weight)
            for i, part in enumerate(module.parts):
                part.load_state_dict({name: value[i : i + 1] for name, value in module.classifier.state_dict().items()})
        module.__class__ = PLAIN.get(type(module), type(module))


def plain_optimizer(probe: nn.Module, recipe: RecipeConfig) -> torch.optim.AdamW:
    """Return AdamW as one makes it without options, all parameters in one group."""
    betas = (recipe.betas[0], recipe.betas[1])
    return torch.optim.AdamW(
        probe.parameters(), lr=recipe.lr, betas=betas, eps=recipe.eps, weight_decay=recipe.weight_decay
    )


def plain_instance_loss(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], size: tuple[int, int], config: InstanceLossConfig
) -> Tensor:
    """Enlarge everything, then draw pixels among all valid ones."""
    embeddings = outputs["embeddings"]
    b, s, e = embeddings.shape[:3]
    full = F.interpolate(embeddings.flatten(0, 1).float(), size, mode="bilinear", align_corners=False)
    full = F.normalize(full, dim=1).view(b, s, e, *size).permute(0, 1, 3, 4, 2).reshape(b, -1, e)
    ids = targets["maps"].reshape(b, -1)
    pull = push = full.new_zeros(())
    n_pull = n_push = full.new_zeros(())
    for clip in range(b):
        valid = ids[clip].nonzero()[:, 0]
        picked = valid[torch.randperm(len(valid), device=valid.device)[: config.pixels]]
        vectors, names = full[clip, picked], ids[clip, picked]
        apart = torch.cdist(vectors, vectors)
        same = names[:, None] == names[None]
        own = torch.eye(len(names), dtype=torch.bool, device=names.device)
        pull, n_pull = pull + apart[same & ~own].sum(), n_pull + (same & ~own).sum()
        push, n_push = push + (config.margin - apart[~same]).clamp(min=0).sum(), n_push + (~same).sum()
    loss: Tensor = pull / n_pull.clamp(min=1) + push / n_push.clamp(min=1)
    return loss


def plain_geometry_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Boolean indexing, first and other queries apart, and gradient terms that are multiplied by 0."""
    weight, mask = targets["confidence"], torch.ones_like(targets["confidence"])
    keep = mask > 0
    depth, points = outputs["depth"][..., None], outputs["points"]
    true_depth, true_points = targets["depth"][..., None], targets["points"]
    near, true_near = normalised(points, mask), normalised(true_points, mask)
    total = camera_paper(outputs["pose_steps"], targets["pose"])
    for predicted, true in ((near, true_near), (depth, true_depth)):
        pixels = []
        for queries in (slice(0, 1), slice(1, None)):
            here = keep[:, queries]
            error = torch.linalg.vector_norm(true[:, queries][here] - predicted[:, queries][here], dim=-1)
            weighted = weight[:, queries][here] * _checked(error).clamp(max=100)
            pixels.append(_checked(weighted.clamp(max=100)))
        total = total + torch.cat(pixels).mean()
        total = total + 0.0 * gradient_term(predicted, true, weight, mask)
    return total


def _checked(values: Tensor) -> Tensor:
    """Put 0 where a value isn't finite."""
    if bool(values.isnan().any()) or bool(values.isinf().any()):
        values = values.nan_to_num(0.0, 0.0, 0.0)
    return values
