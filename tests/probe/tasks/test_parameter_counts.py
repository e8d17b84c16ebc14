"""Sizes of the profile `paper` against the published table, and of the others against their own promises."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
import torch
from torch import nn

from configs.loader import known_names
from probe.tasks.geometry.head import GeometryProbe, raw_numbers
from tests.probe.networks import TASKS, network, options_of

CHANNELS = (896, 1536, 1920, 2048, 2560, 3072, 3584, 4096, 5120, 9216)
DEPTHS = (0, 1, 2, 4, 8)
MILLIONS = {
    "geometry": "383.20 383.86 384.25 384.39 384.91 385.44 385.96 386.49 387.54 391.74",
    "instance": "51.46 52.12 52.51 52.64 53.17 53.70 54.22 54.75 55.80 60.00",
    "tagging": "22.42 22.75 22.94 23.01 23.27 23.54 23.80 24.06 24.59 26.69",
}
SWEEP = {
    "geometry": "286.7 311.9 337.1 387.5 488.3",
    "instance": "5.4 30.6 55.8 106.2 207.0",
    "tagging": "12.0 18.3 24.6 37.2 62.4",
}


def build(task: str, channels: int, profile: str = "paper", overrides: dict[str, str] | None = None) -> nn.Module:
    settings = options_of(task, profile, overrides)
    with torch.device("meta"):
        rows = torch.empty(20, 768) if task == "tagging" else None
        return network(task, channels, (15, 26), settings, classes=20, class_embeddings=rows)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def printed(parameters: int, digits: str) -> str:
    """Millions as the published table prints them: rounded to three decimals first, then to two."""
    thousands = (Decimal(parameters) / 1_000_000).quantize(Decimal("0.001"), ROUND_HALF_UP)
    return str(thousands.quantize(Decimal(digits), ROUND_HALF_UP))


@pytest.mark.parametrize("task", TASKS)
def test_every_feature_width(task: str) -> None:
    settings = options_of(task, "paper")
    with torch.device("meta"):
        rows = torch.empty(20, 768) if task == "tagging" else None
        probes = [
            network(task, channels, (15, 26), settings, classes=20, class_embeddings=rows) for channels in CHANNELS
        ]
    found = [printed(count(probe), "0.01") for probe in probes]
    assert found == MILLIONS[task].split()


@pytest.mark.parametrize("task", TASKS)
def test_every_depth(task: str) -> None:
    found = [printed(count(build(task, 5120, overrides={"trunk.depth": str(d)})), "0.1") for d in DEPTHS]
    assert found == SWEEP[task].split()


def test_exact_formulas() -> None:
    probe = build("geometry", 5120)
    d, block = 1024, 12 * 1024**2 + 15 * 1024 + 4 * 64
    assert isinstance(probe, GeometryProbe) and probe.trunk is not None
    assert count(probe.trunk.frame_blocks) == 4 * block
    assert count(probe.trunk) == 8 * block + 5120 * d + 2 * 5120 + d + 10 * d
    parts = {name: printed(count(part), "0.01") for name, part in probe.named_children()}
    assert (parts["camera_head"], parts["depth_head"], parts["point_head"]) == ("216.18", "32.66", "32.66")


@pytest.mark.parametrize(("profile", "low", "high"), [("compact", 18e6, 22e6), ("cpu", 0.5e6, 3e6)])
def test_smaller_geometry_probes(profile: str, low: float, high: float) -> None:
    assert low < count(build("geometry", 1536, profile)) < high


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("profile", known_names("profile"))
def test_linear_readouts_are_linear_in_the_features_width(profile: str, task: str) -> None:
    loaded = options_of(task, profile, {"readout": "linear"})
    with torch.device("meta"):
        small, large = (count(network(task, c, (15, 26), loaded, classes=20)) for c in (100, 200))
    outputs = {
        "tagging": 20,
        "instance": options_of("instance", profile).head.channels,
        "geometry": 4 + 2 * raw_numbers(options_of("geometry", profile).camera.form),
    }
    norms = 2 if task != "geometry" else 4
    assert large - small == 100 * (outputs[task] + norms)
