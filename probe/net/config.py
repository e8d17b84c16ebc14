"""Options of the shared networks, trunk and dense heads; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from configs.options import option

READOUTS = ("probe", "linear")
FORMS = ("paper", "standard")


@dataclass(frozen=True)
class TrunkConfig:
    """Alternating-attention trunk."""

    width: int = option(help="token channels D", minimum=4)
    depth: int = option(help="pairs of a frame block and a global block; 0 keeps the projection only", minimum=0)
    heads: int = option(help="attention heads; width / heads must be a multiple of 4", minimum=1)
    dropout: float = option(help="dropout after attention and MLP layers", minimum=0, maximum=1)
    mlp_ratio: int = option(4, "hidden width of the MLPs over D", minimum=1)
    registers: int = option(4, "register tokens per frame", minimum=0)
    layer_scale: float = option(0.01, "initial gain of the residual branches")
    input_norm: str = option(
        "token",
        "token: LayerNorm of each token, as published; channel: each channel by its statistics in training",
        choices=("token", "channel"),
    )
    rope_base: float = option(100.0, "base of the rotary position encoding", minimum=1)
    query_time: bool = option(False, "give the trunk the time of each query")
    checkpointing: str = option("auto", "recompute blocks in the backward pass", choices=("auto", "on", "off"))
    activation_budget_gib: float = option(8.0, "auto: recompute above this many GiB of saved activations", minimum=0)


@dataclass(frozen=True)
class DptConfig:
    """Dense heads for depth and points (Ranftl et al. 2021)."""

    features: int = option(help="channels of the fusion levels, a multiple of 8", minimum=8)
    hidden: int = option(help="channels before the last convolution", minimum=1)
    stage_channels: list[int] = option(help="channels of the four projected stages, multiples of 4", minimum=4)
    upsample: list[int] = option(help="enlargement of the first three stages; the fourth is halved", minimum=1)
    stages: list[int] = option(help="trunk pairs to read; spread evenly if one of them is beyond the depth", minimum=0)
    output_scale: float = option(1.0, "height and width of the output over those of the image", minimum=0.01, maximum=1)
    confidence: bool = option(False, "keep the never-trained confidence channel, for published weights")
    shared: bool = option(False, "one fusion network for depth and points")
    cells: bool = option(False, "add what one Linear per cell makes of the last stage, pixel by pixel")
