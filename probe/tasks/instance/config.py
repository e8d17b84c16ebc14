"""Options of the instance probe: head, loss and what `TaskOptions` holds; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from configs.options import option
from probe.net.config import FORMS
from probe.task import TaskOptions


@dataclass(frozen=True)
class EmbedderConfig:
    """Per-cell instance embedding."""

    hidden: int = option(help="hidden channels", minimum=1)
    channels: int = option(32, "channels of the embedding", minimum=2)


@dataclass(frozen=True)
class InstanceLossConfig:
    """Pull and push on sampled pixels."""

    form: str = option("standard", "published or corrected formula", choices=FORMS)
    pixels: int = option(2048, "pixels drawn per clip", minimum=2)
    balance: str = option("uniform", "draw over pixels or first over instances", choices=("uniform", "instance"))
    margin: float = option(1.0, "distance beyond which different instances don't push", minimum=0, maximum=2)
    pull: float = option(1.0, "weight of the pull term", minimum=0)
    push: float = option(1.0, "weight of the push term", minimum=0)


@dataclass(frozen=True)
class InstanceOptions(TaskOptions):
    """Which pixels belong to one object."""

    head: EmbedderConfig = field(default_factory=EmbedderConfig)
    loss: InstanceLossConfig = field(default_factory=InstanceLossConfig)
