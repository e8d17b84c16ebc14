"""Looking inside from Python: the inputs that adapters show, through the library's own classes, give their features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from extract.controls.maps import MapSource
from extract.model import load_model
from extract.readout import block_readers, reading
from extract.video.cogvideox.components import rotary_tables
from tests.extract.contract import sample_clip
from tests.extract.pictures import batch_of, clip, make, taps

BLOCK = 3
VIDEO = ["wan-t2v-1.3b", "wan-i2v-14b", "cogvideox-t2v-2b", "cogvideox-i2v-5b", "aether", "opensora"]


def wan(network: Any, inputs: Mapping[str, Tensor], noisy: Tensor, timestep: float) -> Any:
    extra = {}
    if "window0.condition.latents" in inputs:
        noisy = torch.cat([noisy, inputs["window0.condition.latents"]], dim=1)
        extra["encoder_hidden_states_image"] = inputs["window0.condition.image"]
    return network(noisy, torch.tensor([int(timestep)]), inputs["text.text"], **extra)


def cogvideox(network: Any, inputs: Mapping[str, Tensor], noisy: Tensor, timestep: float) -> Any:
    if "window0.condition.latents" in inputs:
        noisy = torch.cat([noisy, inputs["window0.condition.latents"]], dim=1)
    stretch = 12 / load_model("aether").settings["fps"] if noisy.shape[1] > 48 else 1.0
    rotary = rotary_tables(network.config, noisy.shape[2:], noisy.device, stretch)
    sequence, steps = noisy.transpose(1, 2), torch.tensor([int(timestep)])
    return network(sequence, inputs["text.text"], steps, image_rotary_emb=rotary)


def opensora(network: Any, inputs: Mapping[str, Tensor], noisy: Tensor, timestep: float) -> Any:
    frames, rows, columns = noisy.shape[2], noisy.shape[3] // 2, noisy.shape[4] // 2
    cells = noisy.unfold(3, 2, 2).unfold(4, 2, 2)  # (B, C, t, y, x, 2, 2)
    tokens = cells.permute(0, 2, 3, 4, 1, 5, 6).reshape(1, frames * rows * columns, -1)
    places = torch.cartesian_prod(*(torch.arange(size) for size in (frames, rows, columns))).float()
    return network(
        hidden_states=torch.cat([tokens, inputs["window0.condition.packed"]], dim=-1),
        encoder_hidden_states=inputs["text.text"],
        pooled_projections=inputs["text.pooled"],
        timestep=torch.tensor([timestep]),
        img_ids=places,
        txt_ids=torch.zeros(inputs["text.text"].shape[1], 3),
    )


@pytest.mark.parametrize("name", VIDEO)
def test_the_library_makes_a_video_models_features_from_what_it_is_given(name: str, tiny_cache: str) -> None:
    adapter = make(name, tiny_cache)
    (tap,) = taps(adapter, (BLOCK,))
    adapter.load([tap])
    batch = batch_of(adapter, [clip(adapter)])
    inputs = adapter.network_inputs(batch)
    network: Any = next(module for module in adapter.modules() if "Transformer" in type(module).__name__)
    assert type(network).__module__.startswith("diffusers.")
    assert tap.noise
    noisy = tap.noise.signal * inputs["window0.latents"] + tap.noise.noise * inputs["window0.noise"]
    blocks = network.blocks if hasattr(network, "blocks") else network.transformer_blocks
    if name == "opensora":
        blocks = [*network.transformer_blocks, *network.single_transformer_blocks]
    family = {"wan": wan, "cogvideox": cogvideox, "opensora": opensora}[load_model(name).family]
    pick = {wan: lambda out: out, cogvideox: lambda out: out[0], opensora: lambda out: out[1]}[family]
    with torch.inference_mode(), reading(block_readers(blocks, [BLOCK], pick), BLOCK) as found:
        family(network, inputs, noisy, tap.noise.timestep)
    _, tokens = adapter.spec.frames.rows_of_window(0)
    maps = found[BLOCK].view(1, adapter.spec.frames.tokens, *adapter.spec.taps["dit"].grid, -1)[:, tokens]
    assert torch.equal(adapter.forward(batch)[tap.key], maps)


@pytest.mark.parametrize("name", ["qwen3-vl-2b", "qwen2.5-vl-3b", "internvl3-1b"])
def test_the_library_makes_a_vision_language_models_features_from_what_it_is_given(name: str, tiny_cache: str) -> None:
    adapter = make(name, tiny_cache)
    (tap,) = taps(adapter, (BLOCK,))
    adapter.load([tap])
    batch = batch_of(adapter, [clip(adapter)])
    inputs = adapter.network_inputs(batch)
    network: Any = adapter.modules()[0]
    arguments: dict[str, Any] = {"pixel_values": inputs["pixels"]}
    if "qwen" in name:  # its vision tower takes patches: channel, two equal frames, y, x; four to a token
        patch = 16 if "qwen3" in name else 14
        cells = inputs["pixels"].unfold(2, 2 * patch, 2 * patch).unfold(3, 2 * patch, 2 * patch)
        cells = cells.reshape(*cells.shape[:4], 2, patch, 2, patch)  # N, C, rows, columns, 2, p, 2, p
        cells = cells.permute(0, 2, 3, 4, 6, 1, 5, 7)[..., None, :, :].expand(*[-1] * 6, 2, -1, -1)
        arguments["pixel_values"] = cells.reshape(-1, 3 * 2 * patch * patch)
        size = [1, *(side // patch for side in inputs["pixels"].shape[2:])]
        arguments |= {"image_grid_thw": torch.tensor([size] * 20), "position_ids": inputs["position_ids"]}
    ids = inputs["token_ids"][None]
    block = network.language_model.layers[BLOCK - 1]
    before = network.language_model.layers[BLOCK - 2]
    readers: dict[int, tuple[nn.Module, Any]] = {
        i: (layer, lambda out: out[0] if isinstance(out, tuple) else out) for i, layer in enumerate((block, before))
    }
    with torch.inference_mode(), reading(readers) as found:
        network(input_ids=ids, use_cache=False, **arguments)
    features = adapter.forward(batch)[tap.key]
    visual, earlier = (found[i][:, inputs["visual"]].reshape(features.shape) for i in range(2))
    # the library runs the whole network on shapes of its own, so some processors round in another order
    assert torch.allclose(features, visual, rtol=1e-4, atol=1e-4)
    assert (features - earlier).norm() > 0.1 * earlier.norm()  # what a block too few would cost


def test_controls_have_no_network(tiny_cache: str) -> None:
    adapter = make("pixels", tiny_cache)
    assert isinstance(adapter, MapSource)
    adapter.load(taps(adapter, ()))
    assert adapter.network_inputs(batch_of(adapter, [sample_clip(adapter, "clip", 0)])) == {}
    assert list(adapter.modules()) == [] and adapter.flops() is None
