"""Noise in video models: levels in one pass, seeds, and latents that hold noise of their clip."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from extract.adapter import Variant
from extract.families import build_adapter
from extract.model import load_model
from tests.extract.pictures import clip, run, taps
from tests.extract.video.models import MODELS, Single, Tiny, block_keys


@pytest.mark.parametrize("name", MODELS[:3])
def test_noise_levels_in_one_pass_are_those_of_separate_passes(tiny: Tiny, single: Single, name: str) -> None:
    adapter = tiny(name)
    adapter.load([*taps(adapter, (2,)), *taps(adapter, (4,), "0.2")])
    both = run(adapter, [clip(adapter)])
    (published,) = block_keys(adapter, (2,))
    assert torch.equal(both[published], single(name)[published])
    weak = next(key for key in both if key != published)
    adapter.load(taps(adapter, (4,), "0.2"))
    assert torch.equal(run(adapter, [clip(adapter)])[weak], both[weak])


def test_noise_follows_seed_and_clip(tiny: Tiny, single: Single) -> None:
    name = "cogvideox-t2v-2b"
    adapter = tiny(name)
    (key,) = block_keys(adapter, (2,))
    adapter.load(taps(adapter, (2,)))
    assert not torch.equal(run(adapter, [clip(adapter, "another")])[key], single(name)[key])
    reseeded = tiny(name, noise_seed=1)
    reseeded.load(taps(reseeded, (2,)))
    assert not torch.equal(run(reseeded, [clip(reseeded)])[key], single(name)[key])
    assert reseeded.identity() != adapter.identity()


def test_siblings_share_latents(tiny: Tiny, tiny_cache: str) -> None:
    one, other = tiny("wan-t2v-1.3b"), tiny("wan-t2v-14b")
    assert one.network.vae_digest() == other.network.vae_digest()
    assert one.network.vae_identity() == other.network.vae_identity()


@pytest.mark.parametrize(("name", "protocol"), [("aether", "standard"), ("opensora", "paper")])
def test_latents_with_noise_belong_to_one_clip(name: str, protocol: str, tiny_cache: str) -> None:
    """Two clips of the same pixels, as one video under two names: noise follows from the name, cached or not."""
    found = []
    for kept in (True, False):
        variant = Variant(
            weights="random", size="tiny", protocol=protocol, noise_seed=77, cache=tiny_cache, cache_latents=kept
        )
        adapter = build_adapter(load_model(name), variant)
        adapter.load(taps(adapter, (1,)))
        first, key = clip(adapter), block_keys(adapter, (1,))[0]
        found.append([run(adapter, [replace(first, clip_id=each)])[key] for each in ("one", "other")])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1])
