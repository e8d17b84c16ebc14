"""Noise levels against the published coefficients and the library's own schedulers; seeds; noise from the hook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.errors import ConfigError
from extract.noise import (
    NOISE_RULE,
    CogVideoXSchedule,
    FlowSchedule,
    NoiseSchedule,
    OpenSoraSchedule,
    SeededNoise,
    gaussian,
    levels,
    seed_for,
)
from extract.video.base import Draws
from tests.extract.contract import sample_clip
from tests.extract.pictures import clip, make, run, taps


@pytest.mark.parametrize(
    ("schedule", "text", "timestep", "noise", "signal"),
    [
        (FlowSchedule(3.0), "index:749", 502, 0.502327, 0.497673),
        (CogVideoXSchedule(3.0), "index:749", 250, 0.781631, 0.623742),
        (CogVideoXSchedule(1.0), "index:749", 250, 0.589528, 0.807748),
        (OpenSoraSchedule((60, 106), 33), "t:0.25", 0.7644, 0.7644, 0.2356),
    ],
)
def test_published_coefficients(
    schedule: NoiseSchedule, text: str, timestep: float, noise: float, signal: float
) -> None:
    level = schedule.level(text)
    assert level.timestep == pytest.approx(timestep, abs=1e-4)
    assert level.noise == pytest.approx(noise, abs=5e-5)
    assert level.signal == pytest.approx(signal, abs=5e-5)


def test_open_sora_shift() -> None:
    assert OpenSoraSchedule((60, 106), 33).shift == pytest.approx(9.736, abs=5e-4)


@pytest.mark.parametrize("index", [0, 261, 500, 749, 999])
def test_flow_levels_are_the_librarys(index: int) -> None:
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    scheduler.set_timesteps(1000)
    level = FlowSchedule(3.0).level(f"index:{index}")
    assert level.noise == pytest.approx(float(scheduler.sigmas[index]), abs=2e-6)
    assert level.timestep == pytest.approx(int(scheduler.timesteps[index]), abs=1 if index == 0 else 0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("index", [1, 500, 749, 999])
def test_cogvideox_levels_are_the_librarys(index: int, shift: float) -> None:
    from diffusers import CogVideoXDDIMScheduler

    scheduler = CogVideoXDDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, rescale_betas_zero_snr=True, snr_shift_scale=shift, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(1000)
    level = CogVideoXSchedule(shift).level(f"index:{index}")
    assert level.timestep == int(scheduler.timesteps[index])
    one, zero = torch.ones(1), torch.zeros(1)
    at = torch.tensor([int(level.timestep)])
    assert level.signal == pytest.approx(float(scheduler.add_noise(one, zero, at)), abs=1e-5)
    assert level.noise == pytest.approx(float(scheduler.add_noise(zero, one, at)), abs=1e-5)


def test_a_coefficient_finds_its_step() -> None:
    assert FlowSchedule(3.0).level("0.5").timestep == 500
    assert CogVideoXSchedule(1.0).level("0.5895").timestep == 250
    assert CogVideoXSchedule(1.0).level("t:250") == CogVideoXSchedule(1.0).level("index:749")


@pytest.mark.parametrize("text", ["749", "index:1000", "index:-1", "index:2.5", "t:x", "sigma:0.5", "-0.1", "nan"])
def test_bad_levels_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        FlowSchedule(3.0).level(text)


def test_levels_must_have_names_of_their_own() -> None:
    assert [level.label for level in levels(FlowSchedule(3.0), ["0.1", "0.9"])] == ["s0100", "s0900"]
    with pytest.raises(ConfigError, match="too close"):
        levels(FlowSchedule(3.0), ["0.1", "0.1001"])


def test_noise_depends_on_clip_role_and_seed_only() -> None:
    one = gaussian((4, 8), 0, "clip", "noise/0")
    assert torch.equal(one, gaussian((4, 8), 0, "clip", "noise/0"))
    assert torch.equal(one, Draws(SeededNoise(0), ["other", "clip"], 0, "cpu")("noise", (4, 8))[1])
    for other in ((1, "clip", "noise/0"), (0, "clip2", "noise/0"), (0, "clip", "noise/1")):
        assert not torch.equal(one, gaussian((4, 8), *other))
    assert 0 <= seed_for(0, "clip", "x") < 2**63
    many = gaussian((100_000,), 0, "clip", "noise/0").numpy()
    assert abs(many.mean()) < 0.02
    assert abs(np.std(many) - 1) < 0.02


@dataclass(frozen=True)
class Still:
    """Noise that is the same for all clips."""

    seed: int = 0
    rule: str = "the same for all clips"

    def tensor(self, clip_id: str, role: str, shape: Sequence[int]) -> Tensor:
        return gaussian(shape, self.seed, "any clip", role)

    def array(self, clip_id: str, role: str, shape: Sequence[int]) -> NDArray[np.float32]:
        return SeededNoise(self.seed).array("any clip", role, shape)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("wan-t2v-1.3b", "standard"), ("cogvideox-i2v-5b", "paper"), ("aether", "standard"), ("opensora", "paper")],
)
def test_all_noise_comes_from_the_hook(name: str, protocol: str, tiny_cache: str) -> None:
    """With noise that ignores the clip, equal pixels give equal features; kept latents don't mix the two."""
    usual, still = (
        make(name, tiny_cache, protocol=protocol, noise=noise, cache_latents=True) for noise in (None, Still())
    )
    assert usual.identity()["noise"] == {"seed": 0, "rule": NOISE_RULE}
    assert still.identity() == {**usual.identity(), "noise": {"seed": 0, "rule": Still.rule}}
    (tap,) = taps(usual, (2,))
    for adapter, same in ((usual, False), (still, True), (usual, False)):
        adapter.load([tap])
        one, other = (run(adapter, [clip(adapter, name)])[tap.key] for name in ("one", "other"))
        assert torch.equal(one, other) == same


def test_the_oracles_noise_comes_from_the_hook(tiny_cache: str) -> None:
    usual, still = (
        make("oracle", tiny_cache, noise=noise, extra={"oracle_noise": 0.5, "groups": ["depth", "code"]})
        for noise in (None, Still())
    )
    assert "noise_rule" not in usual.identity()
    assert still.identity() == {**usual.identity(), "noise_rule": Still.rule}
    for adapter, same in ((usual, False), (still, True)):
        one, other = (adapter.preprocess(sample_clip(adapter, name, 0))["features"] for name in ("one", "other"))
        assert torch.equal(one, other) == same
