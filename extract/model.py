"""What `configs/model/<name>.yaml` says about one model, and how names and family aliases find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from configs.loader import load_named, resolve
from configs.names import resolve_alias
from configs.options import option


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    """One model of the study, or one source that is not a model."""

    name: str = option(help="name of the model, as in tables and store paths")
    alias_of: str | None = option(None, "this file is only another name (a family's default) for that model")
    family: str = option("", "folder in extract/ that runs it")
    kind: str = option("vgm", "what it is", choices=["vgm", "vlm", "encoder", "control"])
    title: str = option("", "name as the paper's table writes it")
    hub_id: str | None = option(None, "repository on the hub that holds the weights")
    revision: str | None = option(
        None, "commit of that repository to pin; none takes the newest and records its commit"
    )
    parts: dict[str, str] = option(help="part of the model -> other repository that holds it", factory=dict)
    licence: str = option("", "licence of the weights, one line")
    dtype: str = option("bfloat16", "dtype of the arithmetic on a GPU", choices=["float32", "bfloat16", "float16"])
    paper_dtype: str | None = option(None, "dtype under protocol=paper, where it differs")
    blocks: int = option(0, "transformer blocks of the whole network", minimum=0)
    width: int = option(0, "channels of a token", minimum=0)
    paper_numbers: dict[str, int] = option(help="task -> block number as the paper writes it", factory=dict)
    paper_blocks: dict[str, int] = option(help="task -> the same as number of blocks that have run", factory=dict)
    noise: list[str] = option(help="noise levels by default; empty for models without noise", factory=list)
    input_size: list[int] = option(help="height and width in pixels that frames are resized to", factory=list)
    grid: list[int] = option(help="rows and columns of the native token grid", factory=list)
    paper_grid: list[int] = option(help="rows and columns that the paper's probes read", factory=list)
    settings: dict[str, Any] = option(help="what only its family reads: prompt, text length, schedule", factory=dict)
    architecture: dict[str, Any] = option(
        help="part -> constructor arguments, for random weights at full size and for checks without weights",
        factory=dict,
    )


def load_model(name: str) -> ModelConfig:
    """Return the configuration of a model, following an alias.

    Raises:
        ConfigError: no such model; the message names the closest known ones.
    """
    target = resolve_alias(name)
    return resolve(ModelConfig(), [{**load_named("model", target), "name": target}], {})
