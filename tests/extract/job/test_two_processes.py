"""A seed means the same bits in every process: one fresh process makes twins, prompts and features of all families."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable

import torch

from extract.adapter import Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.video.base import VideoAdapter
from tests.extract.pictures import clip, run, taps

WHOLE = "aether"
"""The video model that also encodes; the others begin at seeded latents, because their VAEs take most of the time."""
NAMES = [WHOLE, "wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora", "qwen3-vl-8b", "qwen2.5-vl-7b", "internvl3.5-8b"]


def features(name: str, init_seed: int = 7) -> torch.Tensor:
    """Features after block 2, from weights drawn with the seed; nothing is taken from a cache."""
    model = load_model(name)
    adapter = build_adapter(model, Variant(weights="random", size="tiny", init_seed=init_seed))
    adapter.load(taps(adapter, (2,)))
    if isinstance(adapter, VideoAdapter) and name != WHOLE:
        adapter.network.encode = seeded_latents(adapter)  # type: ignore[method-assign]
    (found,) = run(adapter, [clip(adapter)]).values()
    return found


def seeded_latents(adapter: VideoAdapter) -> Callable[..., torch.Tensor]:
    """An encoder that doesn't look."""
    height, width = adapter.spec.input_size
    shape = (adapter.spec.taps["vae"].channels, adapter.spec.frames.tokens, height // 8, width // 8)
    return lambda video, draws: torch.randn(1, *shape, generator=torch.Generator().manual_seed(3)).to(video)


def digests(names: list[str]) -> list[str]:
    torch.set_num_threads(1)
    return [hashlib.sha256(features(name).float().numpy().tobytes()).hexdigest() for name in names]


def test_two_processes_give_the_same_bits() -> None:
    code = (
        "import json, sys\n"
        "from tests.extract.job.test_two_processes import digests\n"
        "print(json.dumps(digests(sys.argv[1:])))"
    )
    done = subprocess.run([sys.executable, "-c", code, *NAMES], capture_output=True, text=True, check=True)
    before = torch.get_num_threads()
    try:
        here = dict(zip(NAMES, digests(NAMES), strict=True))
    finally:
        torch.set_num_threads(before)
    assert dict(zip(NAMES, json.loads(done.stdout.splitlines()[-1]), strict=True)) == here
    assert len(set(here.values())) == len(NAMES)


def test_another_seed_gives_other_features() -> None:
    for name in ("wan-t2v-1.3b", "qwen3-vl-8b"):
        assert not torch.equal(features(name, 7), features(name, 8))
