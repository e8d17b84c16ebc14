"""The published Open-Sora tensors in the library's Flux network, against the published arithmetic in plain torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from configs.errors import ModelError
from extract.model import load_model
from extract.readout import block_readers, reading
from extract.video.opensora import tiny
from extract.video.opensora.adapter import packed
from extract.video.opensora.conversion import load_transformer

ARCHITECTURE = tiny.shrink(load_model("opensora")).architecture["transformer"]
HEADS, AXES = ARCHITECTURE["num_attention_heads"], ARCHITECTURE["axes_dims_rope"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opensora") / "Open_Sora_v2.safetensors"
    save_file(tiny.transformer_tensors(ARCHITECTURE, seed=3), path)
    return path


class Plain:
    """The transformer as published: separate q, k, v; rotary pairs (i, i + d/2); picture and condition added."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.t = tensors
        self.cos = self.sin = torch.empty(0)  # of the tokens' places

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def rms(self, name: str, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.t[f"{name}.scale"]

    def embed(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.out_layer", F.silu(self.linear(f"{name}.in_layer", x)))

    def modulation(self, name: str, vector: Tensor, count: int) -> tuple[Tensor, ...]:
        return self.linear(name, F.silu(vector))[:, None].chunk(count, -1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def rotate(x: Tensor) -> Tensor:
            first, second = x.chunk(2, -1)
            return torch.cat([first * self.cos - second * self.sin, second * self.cos + first * self.sin], -1)

        return F.scaled_dot_product_attention(rotate(q), rotate(k), v).transpose(1, 2).flatten(2)

    def __call__(
        self,
        picture: Tensor,
        condition: Tensor,
        text: Tensor,
        pooled: Tensor,
        time: Tensor,
        places: Tensor,
        double: int,
        single: int,
    ) -> dict[int, Tensor]:
        """Return {block, counted from 1: (B, N, C)} of the picture's tokens."""
        rates = torch.exp(-math.log(10000.0) * torch.arange(128) / 128)
        angles = (time * 1000)[:, None] * rates
        vector = self.embed("time_in", torch.cat([angles.cos(), angles.sin()], -1)) + self.embed("vector_in", pooled)
        image, words = self.linear("img_in", picture) + self.linear("cond_in", condition), self.linear("txt_in", text)
        ids = torch.cat([torch.zeros(words.shape[1], 3), places])
        turns = [
            ids[:, axis : axis + 1] / 10000.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
            for axis, width in enumerate(AXES)
        ]
        self.cos, self.sin = (f(torch.cat(turns, -1)).float() for f in (torch.cos, torch.sin))
        found = {}
        for block in range(double):
            image, words = self.double(block, image, words, vector)
            found[block + 1] = image
        joint = torch.cat([words, image], 1)
        for block in range(single):
            joint = self.single(block, joint, vector)
            found[double + block + 1] = joint[:, words.shape[1] :]
        return found

    def double(self, block: int, image: Tensor, words: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        streams, changes, heads = {"txt": words, "img": image}, {}, []
        for name, x in streams.items():
            place = f"double_blocks.{block}.{name}_"
            change = changes[name] = self.modulation(f"{place}mod.lin", vector, 6)
            x = (1 + change[1]) * norm(x) + change[0]
            q, k, v = (split(self.linear(f"{place}attn.{c}_proj", x)) for c in "qkv")
            heads.append((self.rms(f"{place}attn.norm.query_norm", q), self.rms(f"{place}attn.norm.key_norm", k), v))
        mixed = self.attend(*(torch.cat(pair, 2) for pair in zip(*heads, strict=True)))
        parts = dict(zip(streams, torch.split(mixed, [words.shape[1], image.shape[1]], 1), strict=True))
        for name, x in streams.items():
            place, change = f"double_blocks.{block}.{name}_", changes[name]
            x = x + change[2] * self.linear(f"{place}attn.proj", parts[name])
            hidden = F.gelu(self.linear(f"{place}mlp.0", (1 + change[4]) * norm(x) + change[3]), approximate="tanh")
            streams[name] = x + change[5] * self.linear(f"{place}mlp.2", hidden)
        return streams["img"], streams["txt"]

    def single(self, block: int, joint: Tensor, vector: Tensor) -> Tensor:
        place = f"single_blocks.{block}."
        shift, scale, gate = self.modulation(f"{place}modulation.lin", vector, 3)
        x = (1 + scale) * norm(joint) + shift
        q, k = (split(self.linear(f"{place}{c}_proj", x)) for c in "qk")
        width = joint.shape[-1]
        v, hidden = torch.split(self.linear(f"{place}v_mlp", x), [width, 4 * width], -1)
        q, k = self.rms(f"{place}norm.query_norm", q), self.rms(f"{place}norm.key_norm", k)
        both = torch.cat([self.attend(q, k, split(v)), F.gelu(hidden, approximate="tanh")], -1)
        return joint + gate * self.linear(f"{place}linear2", both)


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def split(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], HEADS, -1).transpose(1, 2)


def test_every_block_is_the_published_one(path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    shape = (3, 4, 6)
    count = shape[0] * shape[1] * shape[2]
    picture, condition = (torch.randn(1, count, width, generator=draw) for width in (16, 20))
    text, pooled = torch.randn(1, 8, 24, generator=draw), torch.randn(1, 12, generator=draw)
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij"), -1).reshape(-1, 3).float()
    time = torch.tensor([0.25])
    network = load_transformer(path, ARCHITECTURE, torch.float32, "cpu")
    chain = [*network.transformer_blocks, *network.single_transformer_blocks]
    with torch.inference_mode():
        expected = Plain(load_file(path))(picture, condition, text, pooled, time, places, 2, 4)
        with reading(block_readers(chain, range(1, 7), lambda output: output[1]), 6) as found:
            network(
                hidden_states=torch.cat([picture, condition], -1), encoder_hidden_states=text, timestep=time,
                pooled_projections=pooled, img_ids=places, txt_ids=torch.zeros(8, 3), return_dict=False,
            )  # fmt: skip
    for block in range(1, 7):
        assert (found[block] - expected[block]).abs().max() < 1e-5, block


def test_packing_is_row_major() -> None:
    latents = torch.arange(2 * 3 * 4 * 6.0).view(1, 2, 3, 4, 6)
    tokens = packed(latents)
    assert tokens.shape == (1, 3 * 2 * 3, 8)
    assert torch.equal(tokens[0, 3 + 1], latents[0, :, 0, 2:4, 2:4].flatten())


def test_trimmed_blocks_are_not_loaded(path: Path) -> None:
    network = load_transformer(path, {**ARCHITECTURE, "num_single_layers": 1}, torch.float32, "cpu")
    assert len(network.single_transformer_blocks) == 1
    assert network.proj_out is None


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_other_tensors_are_refused(path: Path, tmp_path: Path, change: str) -> None:
    tensors = load_file(path)
    if change == "missing":
        del tensors["single_blocks.0.q_proj.bias"]
    elif change == "unknown":
        tensors["guidance_in.weight"] = torch.zeros(1)
    else:
        tensors["txt_in.weight"] = torch.zeros(32, 25)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError):
        load_transformer(tmp_path / "x.safetensors", ARCHITECTURE, torch.float32, "cpu")
