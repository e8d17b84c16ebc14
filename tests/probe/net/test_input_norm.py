from __future__ import annotations

import torch

from probe.net.trunk import NORM_FLOOR as FLOOR
from probe.net.trunk import ChannelNorm


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
