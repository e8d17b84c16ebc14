"""Every video generation model at tiny size: blocks, truncation, batches, and where in the picture a token looks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data.dataset.clip import QUERY_POSITIONS
from extract.adapter import Tap, Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.video.base import VideoAdapter
from tests.extract.pictures import clip, run, taps
from tests.extract.video.models import ALL, MODELS, SLOW, Single, Tiny, block_keys, chain, transformer_of


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_blocks(tiny: Tiny, single: Single, name: str) -> None:
    spec, found = tiny(name).spec, single(name)
    for tap in (*taps(tiny(name), (2, 4, 6)), Tap(name="vae")):
        offer = spec.taps[tap.name]
        assert found[tap.key].shape == (1, spec.rows, *offer.grid, offer.channels)
        assert found[tap.key].isfinite().all()
    two, four, six = (found[key] for key in block_keys(tiny(name), (2, 4, 6)))
    assert (two - four).norm() > 0.05 * four.norm()  # an error of one in a block number would show
    assert (four - six).norm() > 0.05 * six.norm()


@pytest.mark.parametrize("name", ALL)
def test_truncated_equals_full(tiny: Tiny, single: Single, name: str) -> None:
    """Blocks beyond the deepest tap are neither loaded nor run, and the features are the same bits."""
    full = single(name)
    adapter = tiny(name)
    adapter.load(taps(adapter, (2,)))
    (key,) = block_keys(adapter, (2,))
    assert torch.equal(run(adapter, [clip(adapter)])[key], full[key])
    if name not in ("aether", "opensora"):
        network = transformer_of(adapter)
        blocks = network.blocks if hasattr(network, "blocks") else network.transformer_blocks
        assert len(blocks) == 2
        assert network.proj_out is None


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-i2v-5b"])
def test_the_librarys_own_full_forward_gives_the_same(tiny: Tiny, name: str) -> None:
    """The same inputs through the library's own loader, all blocks, to the very end."""
    adapter = tiny(name)
    adapter.load(taps(adapter, (3,)))
    mine = transformer_of(adapter)
    calls: list[Any] = []
    handle = mine.register_forward_pre_hook(lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    (key,) = block_keys(adapter, (3,))
    features = run(adapter, [clip(adapter)])[key]
    handle.remove()
    theirs = type(mine).from_pretrained(vars(adapter.network)["_source"].folders["transformer"]).eval()
    blocks = theirs.blocks if hasattr(theirs, "blocks") else theirs.transformer_blocks
    seen: list[Any] = []
    blocks[2].register_forward_hook(lambda module, args, output: seen.append(output))
    args, kwargs = calls[0]
    with torch.inference_mode():
        assert theirs(*args, **kwargs)[0].isfinite().all()
    visual = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    _, tokens = adapter.spec.frames.rows_of_window(0)
    expected = visual.view(1, adapter.spec.frames.tokens, *adapter.spec.taps["dit"].grid, -1)[:, tokens]
    assert torch.equal(features, expected)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.full] * (n == MODELS[1])) for n in MODELS] + SLOW)
def test_batches_change_nothing_that_matters(tiny: Tiny, single: Single, name: str) -> None:
    adapter = tiny(name)
    adapter.load(taps(adapter, (2, 4)))
    both = run(adapter, [clip(adapter, "other", seed=3), clip(adapter)])
    for key in block_keys(adapter, (2, 4)):
        alone = single(name)[key]
        assert (both[key][1] - alone[0]).abs().max() < 2e-5 * alone.abs().max()
        assert (both[key][0] - alone[0]).norm() > 0.05 * alone.norm()


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora"])
def test_grid_is_row_major(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A change of one cell of the latents shows most in that row, line and column of the first block."""
    adapter = tiny(name)
    adapter.load(taps(adapter, (1,)))
    (key,) = block_keys(adapter, (1,))
    before = run(adapter, [clip(adapter)])[key]
    network = adapter.network
    row, y, x = 7, 4, 2
    token = adapter.spec.frames.rows[row].token
    hidden = network.hidden

    def changed(noisy: torch.Tensor, *rest: Any) -> Mapping[int, torch.Tensor]:
        noisy = noisy.clone()
        noisy[:, :, token, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] += 3
        return hidden(noisy, *rest)

    monkeypatch.setattr(network, "hidden", changed)
    difference = (run(adapter, [clip(adapter)])[key] - before).norm(dim=-1)[0]
    monkeypatch.undo()
    assert divmod(int(difference.argmax()), difference[0].numel())[0] == row
    assert divmod(int(difference[row].argmax()), difference.shape[2]) == (y, x)


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora"])
def test_a_patch_of_the_picture_is_found_in_its_row_line_and_column(tiny: Tiny, name: str) -> None:
    """Position code: a patch inverted while one latent lasts. The VAE is causal and sees one cell further around."""
    adapter = tiny(name)
    adapter.load([*taps(adapter, (1,)), Tap(name="vae")])
    height, width = adapter.spec.taps["dit"].grid
    row, y, x = 7, height - 2, 1
    plain = clip(adapter)
    frames = plain.frames.copy()
    tall, wide = frames.shape[1] / height, frames.shape[2] / width
    patch = slice(round(y * tall), round((y + 1) * tall)), slice(round(x * wide), round((x + 1) * wide))
    for position in adapter.spec.frames.rows[row].source_frames:
        frame = frames[adapter.spec.frames.positions.index(position)]
        frame[patch] = 255 - frame[patch]
    before, after = run(adapter, [plain]), run(adapter, [replace(plain, frames=frames)])
    for key, maps in after.items():
        change = (maps - before[key]).norm(dim=-1)[0]
        strength = change.flatten(1).norm(dim=1) / change.norm()
        assert strength[:row].max() < 0.03 < 0.06 < strength[row], key
        fine = change.shape[1] // height  # latents are twice as fine as tokens
        top = np.unravel_index(int(change[row].argmax()), change[row].shape)
        assert abs(top[0] // fine - y) + abs(top[1] // fine - x) <= 1, key


@pytest.mark.parametrize("name", MODELS)
def test_text_beyond_a_tap_changes_nothing_before_it(tiny: Tiny, single: Single, name: str) -> None:
    """Other text from the third block on: that block's map changes, the second one's holds no token of it."""
    adapter = tiny(name)
    adapter.load(taps(adapter, (2, 3)))
    second, third = block_keys(adapter, (2, 3))
    before = run(adapter, [clip(adapter)])
    seen: list[bool] = []

    def other_text(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = list(inspect.signature(module.forward).parameters)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        text = given["encoder_hidden_states"]
        given["encoder_hidden_states"] = torch.randn(text.shape, generator=torch.Generator().manual_seed(0))
        seen.append(True)
        return (), given

    handle = chain(transformer_of(adapter))[2].register_forward_pre_hook(other_text, with_kwargs=True)
    try:
        after = run(adapter, [clip(adapter)])
    finally:
        handle.remove()
    assert seen
    assert torch.equal(after[second], before[second])
    assert torch.equal(before[second], single(name)[second])
    assert (after[third] - before[third]).norm() > 1e-3 * before[third].norm()


def test_aligned_windows_have_a_row_per_slot(tiny_cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a VAE that just keeps the last of four frames, each row is that of its own slot."""
    variant = Variant(weights="random", size="tiny", cache=tiny_cache, temporal="aligned")
    adapter = build_adapter(load_model("cogvideox-t2v-2b"), variant)
    adapter.load([Tap(name="vae")])
    assert isinstance(adapter, VideoAdapter)
    wide = adapter.spec.taps["vae"].channels
    monkeypatch.setattr(
        adapter.network, "encode", lambda video, draws: video[:, :1, ::4, ::8, ::8].expand(-1, wide, -1, -1, -1)
    )
    picture = clip(adapter, size=adapter.spec.input_size)
    maps = run(adapter, [picture])["vae"][0, ..., 0]
    assert adapter.spec.frames.row_of_slot == tuple(range(20))
    last = [0, *(position + 3 for position in QUERY_POSITIONS[1:])]  # of the four frames that begin with the slot's
    at = [adapter.spec.frames.positions.index(position) for position in last]
    expected = torch.from_numpy(picture.frames[at, ::8, ::8, 0].copy()).float() / 127.5 - 1
    torch.testing.assert_close(maps, expected)
