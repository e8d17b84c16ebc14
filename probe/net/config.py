"""Profiles: one scale of every probe, with loss and recipe; typed here, filled by configs/profile/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from configs.loader import load_named, resolve
from configs.options import option
from probe.train.recipe import RecipeConfig

TASKS = ("tagging", "instance", "geometry")
READOUTS = ("probe", "linear")
FORMS = ("paper", "standard")


@dataclass
class TrunkConfig:
    """Alternating-attention trunk."""

    width: int = option(help="token channels D", minimum=4)
    depth: int = option(help="pairs of a frame block and a global block; 0 keeps the projection only", minimum=0)
    heads: int = option(help="attention heads; width / heads must be a multiple of 4", minimum=1)
    dropout: float = option(help="dropout after attention and MLP layers", minimum=0, maximum=1)
    mlp_ratio: int = option(4, "hidden width of the MLPs over D", minimum=1)
    registers: int = option(4, "register tokens per view", minimum=0)
    layer_scale: float = option(0.01, "initial gain of the residual branches")
    input_norm: str = option(
        "token",
        "token: LayerNorm of each token, as published; channel: each channel by its statistics in training",
        choices=("token", "channel"),
    )
    rope_base: float = option(100.0, "base of the rotary position encoding", minimum=1)
    view_time: bool = option(False, "tell the trunk when each view was taken")
    checkpointing: str = option("auto", "recompute blocks in the backward pass", choices=("auto", "on", "off"))
    activation_budget_gib: float = option(8.0, "auto: recompute above this many GiB of saved activations", minimum=0)


@dataclass
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


@dataclass
class CameraConfig:
    """Iterative camera head."""

    width: int = option(0, "channels of the head; 0 takes those of its input", minimum=0)
    depth: int = option(4, "transformer blocks", minimum=1)
    heads: int = option(16, "attention heads", minimum=1)
    iterations: int = option(4, "refinements with shared weights", minimum=1)
    layer_scale: float = option(0.01, "initial gain of the residual branches")
    tokens: str = option(
        "camera",
        "what the head sees of a view: its camera token, the mean patch, both; also first moments; also their products",
        choices=("camera", "pooled", "both", "moments", "products"),
    )
    start: bool = option(False, "refine what one Linear makes of the same tokens, instead of a constant")
    at_depth_0: str = option(
        "refuse",
        "camera tokens are constant without trunk blocks: read pooled patches instead, refuse, or keep the constant",
        choices=("pooled", "refuse", "constant"),
    )
    form: str = option(
        "standard",
        "paper: raw pose, ReLU on the fields of view; standard: place and axes of the camera, softplus, view 0 fixed",
        choices=FORMS,
    )


@dataclass
class TaggerConfig:
    """Query decoder."""

    width: int = option(help="channels of queries and decoder", minimum=1)
    layers: int = option(2, "decoder layers; 0 leaves the evidence alone to tell clips apart", minimum=0)
    heads: int = option(8, "attention heads", minimum=1)
    mlp_ratio: int = option(4, "hidden width of the decoder's MLPs over its width", minimum=1)
    dropout: float = option(0.1, "dropout inside the decoder", minimum=0, maximum=1)
    queries: str = option("learned", "where class queries come from", choices=("learned", "embeddings"))
    evidence: str = option(
        "none",
        "max: add the greatest linear class score of any single token, so that small objects count",
        choices=("none", "max"),
    )
    class_embeddings: str | None = option(
        None, "file .npy or .safetensors with one row per class, for queries=embeddings"
    )


@dataclass
class EmbedderConfig:
    """Per-cell instance embedding."""

    hidden: int = option(help="hidden channels", minimum=1)
    channels: int = option(32, "channels of the embedding", minimum=2)


@dataclass
class TaggingLossConfig:
    """Asymmetric loss (Ridnik et al. 2021)."""

    form: str = option("standard", "published or corrected formula", choices=FORMS)
    gamma_negative: float = option(4.0, "focusing exponent of absent classes", minimum=0)
    gamma_positive: float = option(0.0, "focusing exponent of present classes", minimum=0)
    clip: float = option(0.0, "probability shift of absent classes, paper form only", minimum=0, maximum=1)


@dataclass
class InstanceLossConfig:
    """Pull and push on sampled pixels."""

    form: str = option("standard", "published or corrected formula", choices=FORMS)
    pixels: int = option(2048, "pixels drawn per clip", minimum=2)
    balance: str = option("uniform", "draw over pixels or first over instances", choices=("uniform", "instance"))
    margin: float = option(1.0, "distance beyond which different instances don't push", minimum=0, maximum=2)
    pull: float = option(1.0, "weight of the pull term", minimum=0)
    push: float = option(1.0, "weight of the push term", minimum=0)


@dataclass
class GeometryLossConfig:
    """Points, depth and camera."""

    form: str = option("standard", "published or corrected formula", choices=FORMS)
    robust: str = option("huber", "standard form: shape of the error", choices=("huber", "log1p"))
    delta: float = option(0.1, "standard form: error at which huber turns linear", minimum=1e-6)
    camera_delta: float = option(0.05, "standard form: the same for poses, in their units and radians", minimum=1e-6)
    camera_floor: float | None = option(
        None, "standard form: count errors of a camera's place relative to its distance plus this", minimum=1e-6
    )
    points: float = option(1.0, "weight of the point maps", minimum=0)
    depth: float = option(1.0, "weight of the depth maps", minimum=0)
    camera: float = option(1.0, "weight of the cameras", minimum=0)
    points_gradient: float = option(0.0, "weight of the point maps' spatial differences", minimum=0)
    depth_gradient: float = option(0.0, "weight of the depth maps' spatial differences", minimum=0)


@dataclass
class TaggingProfile:
    """Which classes a clip shows."""

    readout: str = option("probe", "trunk and head, or one linear layer on the features", choices=READOUTS)
    heads_fp32: bool = option(False, "run the head without autocast, as published")
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    head: TaggerConfig = field(default_factory=TaggerConfig)
    loss: TaggingLossConfig = field(default_factory=TaggingLossConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)


@dataclass
class InstanceProfile:
    """Which pixels belong to one object."""

    readout: str = option("probe", "trunk and head, or one linear layer on the features", choices=READOUTS)
    heads_fp32: bool = option(False, "run the head without autocast, as published")
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    head: EmbedderConfig = field(default_factory=EmbedderConfig)
    loss: InstanceLossConfig = field(default_factory=InstanceLossConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)


@dataclass
class GeometryProfile:
    """Depth, point maps and cameras."""

    readout: str = option("probe", "trunk and head, or one linear layer on the features", choices=READOUTS)
    heads_fp32: bool = option(False, "run the heads without autocast, as published")
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    dpt: DptConfig = field(default_factory=DptConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    loss: GeometryLossConfig = field(default_factory=GeometryLossConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)


@dataclass
class Profile:
    """One named scale of all probes."""

    description: str = option(help="what the profile is for")
    tagging: TaggingProfile = field(default_factory=TaggingProfile)
    instance: InstanceProfile = field(default_factory=InstanceProfile)
    geometry: GeometryProfile = field(default_factory=GeometryProfile)


def load_profile(name: str, overrides: Mapping[str, str] | None = None) -> Profile:
    """Return a profile of configs/profile, with overrides such as `{"geometry.trunk.depth": "0"}`.

    Raises:
        ConfigError: unknown profile, unknown key, or a value of the wrong type or range.
    """
    return resolve(Profile, [load_named("profile", name)], overrides or {})
