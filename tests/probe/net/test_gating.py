"""The learned gate."""

from __future__ import annotations

from pathlib import Path

import torch

from fusion.opening import open_source
from probe.net.gating import BranchGate, gated_widths
from tests.fusion.lab import Lab


def test_weights_are_equal_at_first_and_sum_to_1(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.pair()
    (array,) = open_source(lab.root, "toy", "vgm+vlm@gated").arrays.values()
    assert gated_widths(array) == (12, 8)
    gate = BranchGate(gated_widths(array), 16)
    x = torch.randn(2, 3, 4, 6, 20)
    torch.testing.assert_close(gate.weights(x), torch.full((2, 3, 4, 6, 2), 0.5))
    expected = 0.5 * (gate.projections[0](x[..., :12]) + gate.projections[1](x[..., 12:]))
    torch.testing.assert_close(gate(x), expected)
    torch.nn.init.normal_(gate.gate.weight)
    torch.testing.assert_close(gate.weights(x).sum(-1), torch.ones(2, 3, 4, 6))


def test_it_learns_which_branch_to_trust_cell_by_cell() -> None:
    """A flag in the first branch says which branch holds the answer."""
    torch.manual_seed(0)
    gate = torch.nn.Sequential(BranchGate([3, 2], 1))
    optimiser = torch.optim.Adam(gate.parameters(), 0.02)
    for _ in range(400):
        x = torch.randn(256, 5)
        x[:, 0] = torch.sign(x[:, 0]) * 2
        target = torch.where(x[:, 0] > 0, x[:, 1], x[:, 3])
        loss = (gate(x)[:, 0] - target).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss < 0.1  # the best linear map of all five channels reaches 0.5


def test_concatenated_arrays_have_no_gate(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.pair()
    for name in ("vgm+vlm", "vgm"):
        (array,) = open_source(lab.root, "toy", name).arrays.values()
        assert gated_widths(array) == ()
