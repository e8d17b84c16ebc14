"""Options of the geometry probe: dense heads, cameras, loss and what `TaskOptions` holds; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from configs.options import option
from probe.net.config import FORMS, DptConfig
from probe.task import TaskOptions


@dataclass(frozen=True)
class CameraConfig:
    """Iterative camera head."""

    width: int = option(0, "channels of the head; 0 takes those of its input", minimum=0)
    depth: int = option(4, "transformer blocks", minimum=1)
    heads: int = option(16, "attention heads", minimum=1)
    iterations: int = option(4, "refinements with shared weights", minimum=1)
    layer_scale: float = option(0.01, "initial gain of the residual branches")
    tokens: str = option(
        "camera",
        "what the head sees: the camera token, the mean patch, both; also first moments; also their products",
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
        "paper: raw pose, ReLU on the fields of view; standard: place and axes of the camera, softplus, query 0 fixed",
        choices=FORMS,
    )


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class GeometryOptions(TaskOptions):
    """Depth, point maps and cameras."""

    dpt: DptConfig = field(default_factory=DptConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    loss: GeometryLossConfig = field(default_factory=GeometryLossConfig)
