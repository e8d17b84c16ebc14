"""The trunk and the statistics that standardise its input."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.errors import ConfigError
from probe.net.config import TrunkConfig
from probe.net.trunk import NORM_FLOOR as FLOOR
from probe.net.trunk import SAVED_PER_TOKEN, ChannelNorm, Trunk
from tests.probe.gradients import gradient

SMALL = TrunkConfig(width=32, depth=2, heads=4, dropout=0.0, layer_scale=0.5)


def make(grid: tuple[int, int] = (3, 4), channels: int = 10, **changes: Any) -> Trunk:
    return Trunk(channels, grid, dataclasses.replace(SMALL, **changes))


def test_stages_have_the_width_of_two_blocks() -> None:
    trunk = make()
    stages = trunk(torch.randn(2, 3, 3, 4, 10), (0, 1, -1))
    assert [tuple(stage.shape) for stage in stages] == [(2, 3, 5 + 12, 64)] * 3
    assert stages[1] is stages[2]
    assert not torch.equal(stages[0], stages[1])


def test_other_queries_may_be_permuted() -> None:
    trunk = make().eval()
    features = torch.randn(2, 5, 3, 4, 10)
    order = torch.tensor([0, 3, 1, 4, 2])
    straight, permuted = trunk(features)[0], trunk(features[:, order])[0]
    torch.testing.assert_close(permuted, straight[:, order], atol=1e-5, rtol=0)


def test_the_first_query_is_special() -> None:
    trunk = make().eval()
    torch.nn.init.normal_(trunk.camera_token)
    features = torch.randn(1, 3, 3, 4, 10)
    swapped = torch.tensor([1, 0, 2])
    assert not torch.allclose(trunk(features)[0][:, swapped], trunk(features[:, swapped])[0], atol=1e-3)


def test_query_time_starts_silent_and_then_tells_queries_apart() -> None:
    trunk = make(query_time=True).eval()
    features = torch.randn(1, 4, 3, 4, 10)
    order, times = torch.tensor([0, 2, 1, 3]), torch.tensor([[0.0, 5.0, 9.0, 30.0]])
    torch.testing.assert_close(trunk(features, query_times=times)[0], trunk(features)[0])
    assert trunk.query_time is not None
    torch.nn.init.normal_(trunk.query_time.proj.weight)
    straight = trunk(features, query_times=times)[0]
    assert not torch.allclose(trunk(features[:, order], query_times=times)[0], straight[:, order], atol=1e-3)
    again = trunk(features[:, order], query_times=times[:, order])[0]
    torch.testing.assert_close(again, straight[:, order], atol=1e-5, rtol=1e-5)


def test_frame_blocks_see_one_frame_and_global_blocks_all() -> None:
    trunk = make(depth=1).eval()
    features = torch.randn(1, 3, 3, 4, 10)
    changed = features.clone()
    changed[:, 2] = torch.randn(3, 4, 10)
    difference = (trunk(features)[0] - trunk(changed)[0]).abs().amax(dim=(0, 2))
    assert difference[0, :32].max() == 0
    assert difference[0, 32:].max() > 1e-6


def test_depth_0_is_the_projection_twice() -> None:
    trunk = make(depth=0)
    features = torch.randn(2, 3, 3, 4, 10)
    stages = trunk(features, (0, 1, 2, 3, -1))
    assert all(stage is stages[0] for stage in stages)
    expected = trunk.input_proj(trunk.input_norm(features)).flatten(2, 3)
    torch.testing.assert_close(stages[0][:, :, 5:, :32], expected)
    torch.testing.assert_close(stages[0][..., :32], stages[0][..., 32:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_features(dtype: torch.dtype) -> None:
    trunk = make()
    features = torch.randn(1, 2, 3, 4, 10).to(dtype)
    torch.testing.assert_close(trunk(features)[0], trunk(features.float())[0])


def test_autocast_keeps_the_residual_stream_in_float32() -> None:
    trunk = make()
    features = torch.randn(1, 2, 3, 4, 10)
    exact = trunk(features)[0]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = trunk(features.bfloat16())[0]
    assert mixed.dtype is torch.float32
    torch.testing.assert_close(mixed, exact, atol=0.2, rtol=0)


def gradients(trunk: Trunk, features: Tensor) -> list[Tensor]:
    trunk.zero_grad()
    torch.autograd.backward(trunk(features)[0].square().mean())
    return [gradient(parameter).clone() for parameter in trunk.parameters()]


def test_recomputation_changes_nothing() -> None:
    trunk, features = make(), torch.randn(1, 2, 3, 4, 10)
    for setting in ("off", "on"):
        trunk.config = dataclasses.replace(trunk.config, checkpointing=setting)
        found = gradients(trunk, features)
        if setting == "off":
            expected = found
    torch.testing.assert_close(found, expected)


def saved_values(trunk: Trunk, features: Tensor) -> int:
    sizes: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in trunk.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = trunk(features)
    assert kept
    return sum(sizes.values())


def test_auto_recomputes_above_its_budget() -> None:
    trunk = make(grid=(6, 8), width=64, depth=1, dropout=0.1, checkpointing="auto")
    features = torch.randn(1, 4, 6, 8, 10)
    estimate = 4 * SAVED_PER_TOKEN * 4 * (5 + 48) * 64 * 2
    without = saved_values(trunk, features)
    assert 0.7 * without < estimate < 1.3 * without
    trunk.config = dataclasses.replace(trunk.config, activation_budget_gib=0.9 * estimate / 2**30)
    assert saved_values(trunk, features) < 0.5 * without
    trunk.config = dataclasses.replace(trunk.config, activation_budget_gib=1.1 * estimate / 2**30)
    assert saved_values(trunk, features) == without
    trunk.config = dataclasses.replace(trunk.config, checkpointing="on")
    trunk.eval()
    assert saved_values(trunk, features) > 0.5 * without


@pytest.mark.parametrize("shape", [(1, 2, 4, 3, 10), (1, 2, 3, 4, 9), (2, 3, 4, 10)])
def test_features_of_another_grid_or_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"\(B, S, 3, 4, 10\)"):
        make()(torch.randn(shape))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="multiple of"):
        make(heads=5)


@pytest.mark.parametrize("input_norm", ["token", "channel"])
def test_a_gate_takes_the_place_of_the_projection(input_norm: str) -> None:
    trunk = make(input_norm=input_norm)
    plain = trunk.input_proj
    trunk.gate((6, 4))
    assert trunk.input_proj is not plain
    features = torch.randn(2, 3, 3, 4, 10)
    torch.autograd.backward(trunk(features)[0].square().mean())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trunk.input_proj.parameters())
    trunk.eval()
    flat = features.flatten(0, 1).flatten(1, 2)
    torch.testing.assert_close(trunk.project(flat), trunk.input_proj(trunk.input_norm(flat)))


def test_norm_and_projection_in_one_step_are_the_same() -> None:
    trunk = make().eval()
    torch.nn.init.normal_(trunk.input_norm.weight)  # type: ignore[arg-type]
    torch.nn.init.normal_(trunk.input_norm.bias)  # type: ignore[arg-type]
    tokens = torch.randn(2, 12, 10)
    torch.testing.assert_close(trunk.project(tokens), trunk.input_proj(trunk.input_norm(tokens)), atol=1e-5, rtol=1e-5)


def test_statistics_of_all_batches_with_equal_weight_per_token() -> None:
    norm = ChannelNorm(5)
    batches = [torch.randn(n, 3, 5) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]) + 7.0 for n in (2, 11, 5)]
    for batch in batches:
        norm(batch)
    together = torch.cat(batches).flatten(0, 1)
    torch.testing.assert_close(norm.mean, together.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.variance, together.var(0, correction=0), rtol=1e-4, atol=1e-4)


def test_channels_come_out_alike_and_tokens_keep_their_size() -> None:
    norm = ChannelNorm(3)
    tokens = torch.randn(4000, 3) * torch.tensor([0.5, 1.0, 2.0]) + torch.tensor([1.0, -3.0, 0.0])
    out = norm(tokens)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    assert ((out.std(0) > 0.9) & (out.std(0) < 1.01)).all()
    norm.eval()
    # affine: halfway between two tokens lies halfway between their images
    torch.testing.assert_close(norm((tokens[:10] + tokens[10:20]) / 2), (norm(tokens[:10]) + norm(tokens[10:20])) / 2)


def test_evaluation_changes_nothing() -> None:
    norm = ChannelNorm(4)
    norm(torch.randn(6, 4))
    norm.eval()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(torch.randn(6, 4) + 100)
    torch.testing.assert_close(dict(norm.state_dict()), before)


def test_silent_channels_stay_small() -> None:
    norm = ChannelNorm(4)
    tokens = torch.randn(1000, 4)
    tokens[:, 2] = 0.25  # constant
    tokens[:, 3] *= 1e-3
    out = norm(tokens)
    assert out.isfinite().all()
    assert out[:, 2].abs().max() < 1e-3
    assert out[:, 3].abs().max() < 5 * 1e-3 / (FLOOR * 0.4)
    only_constants = ChannelNorm(2)(torch.ones(8, 2))
    assert only_constants.isfinite().all()


def test_saved_with_the_weights() -> None:
    norm = ChannelNorm(2)
    norm(torch.randn(8, 2))
    again = ChannelNorm(2)
    again.load_state_dict(norm.state_dict())
    again.eval(), norm.eval()
    tokens = torch.randn(3, 2)
    assert torch.equal(again(tokens), norm(tokens))
