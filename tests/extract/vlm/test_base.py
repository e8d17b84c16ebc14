"""What every vision-language adapter must do, checked on tiny twins of all families."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from configs.errors import ConfigError
from configs.identity import digest
from data.dataset.clip import QUERY_POSITIONS
from extract.adapter import Batch, ClipInput, Tap
from extract.model import load_model

BATCH_TOLERANCE = 1e-5
"""Largest difference, relative to the largest value, that batching clips may make in float32."""


def test_the_library_runs_the_same_tokens(kit: Any, name: str) -> None:
    """What makes comparing bits fair: one token more or less, and matrix products may sum in another order."""
    assert torch.equal(kit.library(name).token_ids(), kit.inputs(kit.loaded(name, *kit.llm(3)))["token_ids"][None])


def test_every_block_equals_the_library_bit_for_bit(kit: Any, name: str) -> None:
    """Own loading, input building, positions and hooks against transformers' whole network and Pillow processor."""
    states, _ = kit.library(name).hidden_states()
    features = kit.features(name)
    for block in range(1, 6):
        assert torch.equal(features[f"llm.b{block}"][0], states[block]), block


def test_last_block_is_not_normalised(kit: Any, name: str) -> None:
    states, _ = kit.library(name).hidden_states()
    last = kit.features(name)["llm.b6"][0]
    assert not torch.allclose(last, states[6])
    assert torch.equal(kit.library(name).network.language_model.norm(last), states[6])


def test_truncated_network_gives_the_same_bits(kit: Any, name: str) -> None:
    """Block 3 alone, with blocks 4 to 6 neither loaded nor run, against the run of all blocks."""
    adapter = kit.loaded(name, *kit.llm(3))
    assert len(adapter.network.language_model.layers) == 3
    assert torch.equal(kit.run(adapter, kit.clip())["llm.b3"], kit.features(name)["llm.b3"])


def test_blocks_differ(kit: Any, name: str) -> None:
    """An index that is off by one can't hide."""
    maps = [kit.features(name)[f"llm.b{block}"] for block in range(1, 7)]
    for before, after in itertools.pairwise(maps):
        assert (before - after).norm() > 0.1 * before.norm()


def test_vision_tap_is_the_tower_alone(kit: Any, name: str) -> None:
    """It equals what enters the first decoder layer, and needs no language model."""
    _, entered = kit.library(name).hidden_states()
    adapter = kit.loaded(name, Tap(name="vision"))
    assert not any("language_model" in key for key, _ in adapter.network.named_parameters())
    alone = kit.run(adapter, kit.clip())["vision"]
    assert torch.equal(alone[0], entered[0])
    assert torch.equal(alone, kit.features(name)["vision"])


def test_shape_and_dtype_match_the_spec(kit: Any, name: str) -> None:
    spec = kit.make(name, size="tiny").spec
    for key, maps in kit.features(name).items():
        offer = spec.taps[key.split(".")[0]]
        assert maps.shape == (1, spec.rows, *offer.grid, offer.channels)
        assert maps.dtype == torch.float32


@pytest.mark.parametrize("slot", [7, 19])
def test_each_slot_has_its_own_image(kit: Any, name: str, slot: int) -> None:
    """Changing the frame of one slot changes its row; rows before it keep their bits, as attention is causal."""
    clip = kit.clip()
    frames = clip.frames.copy()
    frames[slot] = 255 - frames[slot]
    adapter = kit.loaded(name, *kit.llm(3), Tap(name="vision"))
    changed = kit.run(adapter, ClipInput(clip_id="x", frames=frames, length=81))
    same = {key: (changed[key][0] == kit.features(name)[key][0]).flatten(1).all(1) for key in changed}
    assert same["vision"].tolist() == [row != slot for row in range(20)]
    assert same["llm.b3"].tolist() == [row < slot for row in range(20)]


def test_every_query_frame_has_a_row_of_its_own(kit: Any, name: str) -> None:
    frames = kit.make(name).spec.frames
    assert frames.row_of_slot == tuple(range(20))


def test_maps_are_row_major(kit: Any, name: str) -> None:
    """A cell of one picture that gets brighter changes its own token most."""
    adapter = kit.loaded(name, Tap(name="llm", block=1), Tap(name="vision"))
    rows, columns = adapter.spec.taps["llm"].grid
    side = adapter.spec.input_size[0]
    cells = [(3, 1, 6), (11, columns - 1, 0)]
    clips = [kit.clip(size=(side - side % 8, side - side % 8))]
    step = clips[0].frames.shape[1] / rows
    for slot, y, x in cells:
        frames = clips[0].frames // 2
        inside = slice(round(y * step), round((y + 1) * step)), slice(round(x * step), round((x + 1) * step))
        frames[slot][inside] += 30
        clips.append(ClipInput(clip_id="lit", frames=frames, length=81))
    clips[0] = ClipInput(clip_id="dark", frames=clips[0].frames // 2, length=81)
    for key, maps in kit.run(adapter, *clips).items():
        for lit, cell in zip(maps[1:], cells, strict=True):
            change = (lit - maps[0]).norm(dim=-1)
            assert [int(n) for n in np.unravel_index(int(change.argmax()), change.shape)] == [*cell], key


def test_text_after_the_last_image_changes_nothing(kit: Any, name: str) -> None:
    """The published question and answer turn are left out; with them the features are the same to rounding."""
    states, _ = kit.library(name).hidden_states("\nDescribe what you see.<|im_end|>\n<|im_start|>assistant\n")
    for block in (1, 3, 5):
        ours = kit.features(name)[f"llm.b{block}"][0]
        assert (states[block] - ours).abs().max() < 1e-5 * ours.abs().max()
        assert (states[block + 1] - ours).abs().max() > 1e-2 * ours.abs().max()  # a mistake of one block


def test_text_before_the_images_does_matter(kit: Any, name: str) -> None:
    adapter = kit.loaded(name, *kit.llm(3))
    model = load_model(name)
    model.settings["prompt"]["label"] = "View {k}: "
    other = type(adapter)(model, adapter.variant, adapter.family)
    other.load(kit.llm(3))
    assert not torch.allclose(kit.run(other, kit.clip())["llm.b3"], kit.features(name)["llm.b3"], rtol=1e-3)
    assert digest(other.identity()) != digest(adapter.identity())


def test_a_batch_gives_what_single_clips_give(kit: Any, name: str) -> None:
    adapter = kit.loaded(name, *kit.llm(3))
    both = kit.run(adapter, kit.clip(), kit.clip(seed=5))["llm.b3"]
    singles = kit.features(name)["llm.b3"], kit.run(adapter, kit.clip(seed=5))["llm.b3"]
    for together, (alone,) in zip(both, singles, strict=True):
        assert (together - alone).abs().max() <= BATCH_TOLERANCE * alone.abs().max()


def test_short_clips_keep_every_slot_at_its_frame(kit: Any, name: str) -> None:
    """Slots inside a clip of 31 frames hold what they hold in a long clip; later ones repeat its last frame."""
    short = kit.run(kit.loaded(name, *kit.llm(3), Tap(name="vision")), kit.clip(length=31))
    inside = sum(position < 31 for position in QUERY_POSITIONS)
    assert inside == 9
    assert torch.equal(short["llm.b3"][0, :inside], kit.features(name)["llm.b3"][0, :inside])
    eight, nine, last = (short["vision"][0, slot] for slot in (8, 9, 19))
    near = BATCH_TOLERANCE * last.abs().max()  # another place in the batch of images
    assert (nine - last).abs().max() <= near < 100 * near < (eight - nine).abs().max()


def test_wrong_taps_are_refused(kit: Any, name: str) -> None:
    adapter = kit.make(name, size="tiny")
    for taps in ([], kit.llm(0), kit.llm(7), [Tap(name="llm")], [Tap(name="vision", block=1)], [Tap(name="dit")]):
        with pytest.raises(ConfigError):
            adapter.load(taps)


def test_dtype_follows_the_device(kit: Any, name: str) -> None:
    assert kit.make(name).spec.compute_dtype == "float32"
    assert kit.make(name, device="cuda:0").spec.compute_dtype == "bfloat16"
    assert kit.make(name).spec.store_dtype == "bfloat16"


@pytest.mark.parametrize(
    "name", ["internvl3.5-8b", *(pytest.param(n, marks=pytest.mark.full) for n in ("qwen3-vl-8b", "qwen2.5-vl-7b"))]
)
def test_bfloat16_is_close_to_float32(kit: Any, name: str) -> None:
    adapter = kit.make(name, size="tiny", cache=str(kit.root), dtype="bfloat16")
    adapter.load(kit.llm(3))
    low, high = kit.run(adapter, kit.clip())["llm.b3"], kit.features(name)["llm.b3"]
    assert low.dtype == torch.bfloat16
    assert (low.float() - high).norm() < 0.05 * high.norm()


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(kit: Any, name: str) -> None:
    for dtype, tolerance in (("float32", 1e-2), ("auto", 5e-2)):  # float32 may use TF32 there
        adapter = kit.make(name, size="tiny", cache=str(kit.root), device="cuda:0", dtype=dtype)
        adapter.load([*kit.llm(3), Tap(name="vision")])
        pixels = adapter.preprocess(kit.clip())["pixels"][None].to("cuda:0")
        maps = adapter.forward(Batch(clip_ids=["c"], inputs={"pixels": pixels}))
        for key in ("llm.b3", "vision"):
            cpu = kit.features(name)[key]
            assert maps[key].device.type == "cuda"
            assert (maps[key].cpu().float() - cpu).norm() < tolerance * cpu.norm()


def test_identity_tells_variants_apart(kit: Any, name: str) -> None:
    base = digest(kit.make(name, size="tiny").identity())
    assert base == digest(kit.make(name, size="tiny").identity())
    for other in ({"weights": "random"}, {"size": "tiny", "init_seed": 1}, {"size": "tiny", "dtype": "bfloat16"}):
        assert digest(kit.make(name, **other).identity()) != base
