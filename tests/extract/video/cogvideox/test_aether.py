"""Aether's denoising steps against the library's scheduler."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from extract.adapter import Tap
from extract.video.cogvideox.aether import denoised
from tests.extract.pictures import clip, make, run, taps


def test_the_twin_runs_as_published(tiny_cache: str) -> None:
    """In tiles, whose latents must add up to the grid; the condition is a sample."""
    features = {}
    for protocol in ("standard", "paper"):
        adapter = make("aether", tiny_cache, protocol=protocol)
        wanted = [*taps(adapter, (2,)), Tap(name="vae")]
        adapter.load(wanted)
        features[protocol] = run(adapter, [clip(adapter)])
        for tap in wanted:
            offer = adapter.spec.taps[tap.name]
            assert features[protocol][tap.key].shape == (1, adapter.spec.rows, *offer.grid, offer.channels)
            assert features[protocol][tap.key].isfinite().all()
    assert not any(torch.equal(features["paper"][key], value) for key, value in features["standard"].items())


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("shape", [(56, 3, 4, 6), (56, 11, 60, 90)])
def test_a_denoising_step_is_the_librarys(steps: int, shape: tuple[int, ...]) -> None:
    """The library draws once in the first and the last step, twice in between, and drops the first of two."""
    from diffusers import CogVideoXDPMScheduler

    assert np.prod(shape) % 16 == 0  # only then several draws give the same numbers as one
    scheduler = CogVideoXDPMScheduler(
        prediction_type="v_prediction", clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    times, last = scheduler.timesteps.tolist(), steps - 1
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(max(1, 2 * last), *shape, generator=torch.Generator().manual_seed(7))
    sample = expected = torch.randn(1, *shape)
    before = before_expected = None
    for index, time in enumerate(times):
        velocity, back = torch.randn(1, *shape), times[index - 1] if index else None
        drawn = 0 if index == 0 else 2 * index if index < last else 2 * last - 1
        sample, before = denoised(scheduler, velocity, before, time, back, sample, noise[[drawn]])
        expected, before_expected = scheduler.step(
            velocity, before_expected, time, back, expected, generator=generator, return_dict=False
        )
        assert torch.equal(sample, expected) and torch.equal(before, before_expected)
