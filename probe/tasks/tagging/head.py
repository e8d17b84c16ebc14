"""The tagging probe: one query per class reads all patch tokens of a clip (DETR, Query2Label), or a linear read-out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from configs.errors import ConfigError, MissingError, NonFiniteError
from probe.module import heads_precision
from probe.net.linear import LinearTagger
from probe.net.trunk import Trunk
from probe.tasks.tagging.config import TaggerConfig, TaggingOptions


def load_class_embeddings(path: str | Path, num_classes: int) -> Tensor:
    """Read a table of class embeddings, for example text embeddings of class names.

    Args:
        path: `.npy`, or `.safetensors` with one tensor.
        num_classes: expected number of rows.

    Returns:
        (num_classes, E) float32.

    Raises:
        MissingError: no such file.
        ConfigError: another kind of file, more than one tensor, or another number of rows.
        NonFiniteError: NaN or infinite values.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError("no such file of class embeddings", where=path, fix="set head.class_embeddings=FILE")
    rows = _read_table(path).float()
    if rows.ndim != 2 or rows.shape[0] != num_classes or rows.shape[1] == 0:
        raise ConfigError(
            "these class embeddings don't fit the dataset",
            expected=f"({num_classes}, E)",
            found=tuple(rows.shape),
            where=path,
            fix="write one row per class, in the order of the dataset's classes",
        )
    if not rows.isfinite().all():
        raise NonFiniteError("class embeddings hold NaN or infinite values", where=path)
    return rows


def _read_table(path: Path) -> Tensor:
    if path.suffix == ".npy":
        import numpy as np

        try:
            loaded = np.load(path, allow_pickle=False)
            return torch.from_numpy(np.ascontiguousarray(loaded, dtype=np.float32))
        except (ValueError, TypeError, EOFError) as error:
            raise ConfigError(f"not a readable array of numbers: {error}", where=path) from error
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except SafetensorError as error:
            raise ConfigError(f"not a readable safetensors file: {error}", where=path) from error
        if len(tensors) != 1:
            raise ConfigError("a file of class embeddings holds one tensor", found=sorted(tensors), where=path)
        rows: Tensor = next(iter(tensors.values()))
        return rows
    raise ConfigError(
        "unknown kind of class embeddings", expected=".npy or .safetensors", found=path.suffix, where=path
    )


class TaggingHead(nn.Module):
    """Pre-norm transformer decoder on class queries, then one linear score per class.

    Dropout acts on attention weights and inside the MLPs, as published; the residual dropouts of the library's layer
    are switched off.

    Args:
        width: channels of a trunk stage.
        num_classes: number of classes.
        config: sizes and where the queries come from.
        class_embeddings: (num_classes, E) for `class_queries=embeddings`: a fixed buffer before a Linear. They're
            saved with the weights, so that a trained probe needs no second file.
    """

    class_embeddings: Tensor | None

    def __init__(
        self, width: int, num_classes: int, config: TaggerConfig, class_embeddings: Tensor | None = None
    ) -> None:
        super().__init__()
        inner = config.width
        if inner % config.heads:
            raise ConfigError(
                "attention heads don't divide the tagger's width",
                expected=f"a multiple of {config.heads}",
                found=inner,
                fix="set head.width or head.heads",
            )
        if not config.layers and config.evidence == "none":
            raise ConfigError(
                "a tagger without decoder layers and evidence never looks at the features",
                expected="head.layers of 1 or more, or head.evidence=max",
                found="head.layers=0 and head.evidence=none",
                fix="set head.layers=2 or head.evidence=max",
            )
        if config.class_queries != "embeddings" and (config.class_embeddings or class_embeddings is not None):
            raise ConfigError(
                "class embeddings are given, but the queries don't use them",
                expected="head.class_queries=embeddings, or no class embeddings",
                found=f"head.class_queries={config.class_queries}",
                fix="add head.class_queries=embeddings, or leave out head.class_embeddings",
            )
        self.in_proj: nn.Module = nn.Identity() if width == inner else nn.Linear(width, inner)
        if config.class_queries == "embeddings":
            if class_embeddings is None:
                raise ConfigError(
                    "the class queries come from embeddings, but none are given",
                    expected=f"a file with {num_classes} rows, in the order of the classes",
                    fix="add head.class_embeddings=FILE.npy, or head.class_queries=learned",
                )
            self.register_buffer("class_embeddings", class_embeddings)
            self.query_proj = nn.Linear(class_embeddings.shape[1], inner)
        else:
            self.queries = nn.Parameter(torch.empty(num_classes, inner).normal_(std=0.02))
        self.layers = nn.ModuleList(_decoder_layer(config) for _ in range(config.layers))
        # One row per class: the same numbers as one Linear(width, 1) per class, in one product.
        self.classifier = nn.Linear(inner, num_classes)
        # An object of a few cells is lost in a mean over a thousand tokens (CSRA, Zhu and Wu 2021).
        self.evidence = nn.Linear(width, num_classes) if config.evidence == "max" else None

    def forward(self, patches: Tensor) -> Tensor:
        """Score the classes.

        Args:
            patches: (B, tokens, width), all patch tokens of a clip.

        Returns:
            (B, num_classes) logits, float32.
        """
        memory = self.in_proj(patches)
        embeddings = getattr(self, "class_embeddings", None)
        queries = self.queries if embeddings is None else self.query_proj(embeddings)
        x = queries.to(memory.dtype).expand(patches.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, memory)
        scores: Tensor = (x.float() * self.classifier.weight.float()).sum(-1) + self.classifier.bias.float()
        if self.evidence is not None:
            scores = scores + self.evidence(patches).float().amax(dim=1)
        return scores


def _decoder_layer(config: TaggerConfig) -> nn.TransformerDecoderLayer:
    layer = nn.TransformerDecoderLayer(
        config.width,
        config.heads,
        config.mlp_ratio * config.width,
        config.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    layer.dropout1.p = layer.dropout2.p = 0.0
    return layer


class TaggingProbe(nn.Module):
    """Which classes a clip shows."""

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        config: TaggingOptions,
        num_classes: int,
        class_embeddings: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.heads_fp32 = config.heads_fp32
        self.trunk: Trunk | None = None
        if config.readout == "linear":
            self.linear = LinearTagger(channels, num_classes)
            return
        if class_embeddings is None and config.head.class_queries == "embeddings" and config.head.class_embeddings:
            class_embeddings = load_class_embeddings(config.head.class_embeddings, num_classes)
        self.trunk = Trunk(channels, grid, config.trunk)
        self.head = TaggingHead(self.trunk.stage_width, num_classes, config.head, class_embeddings)

    def forward(
        self, features: Tensor, image_size: tuple[int, int] | None = None, query_times: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Map features (B, S, h, w, C) to `logits` (B, num_classes); `image_size` is ignored."""
        if self.trunk is None:
            return {"logits": self.linear(features)}
        stage = self.trunk(features, (-1,), query_times)[0]
        with heads_precision(stage, self.heads_fp32):
            patches = stage[:, :, self.trunk.specials :].flatten(1, 2)
            return {"logits": self.head(patches)}
