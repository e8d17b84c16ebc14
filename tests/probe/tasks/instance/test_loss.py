from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.tasks.instance.config import InstanceLossConfig
from probe.tasks.instance.loss import embeddings_at, instance_loss
from tests.probe.gradients import gradient

PAPER = InstanceLossConfig(form="paper")
STANDARD = InstanceLossConfig(form="standard")


def case(clips: int = 2, queries: int = 3, points: int = 30) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    embeddings = F.normalize(torch.randn(clips, queries, 6, 4, 5), dim=2)
    size = (27, 36)
    pixels = torch.stack([torch.randint(high, (clips, points)) for high in (queries, *size)], dim=-1)
    return embeddings, pixels, torch.randint(0, 4, (clips, points)), size


def enlarge_then_pick(embeddings: Tensor, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    full = F.interpolate(embeddings.flatten(0, 1), size, mode="bilinear", align_corners=False)
    full = F.normalize(full, dim=1).reshape(*embeddings.shape[:2], *full.shape[1:])
    return torch.stack(
        [torch.stack([full[b, v, :, r, c] for v, r, c in pixels[b].tolist()]) for b in range(len(pixels))]
    )


def naive(vectors: Tensor, ids: Tensor, paper: bool, margin: float) -> tuple[float, float]:
    """Pull and push pair by pair."""
    pulls: list[list[float]] = []
    pushes: list[list[float]] = []
    for points, marks in zip(vectors.double(), ids.tolist(), strict=True):
        pull, push = [], []
        for i in range(len(marks)):
            for j in range(len(marks)):
                if i == j or marks[i] == 0 or marks[j] == 0:
                    continue
                d = float((points[i] - points[j]).norm())
                if marks[i] == marks[j]:
                    pull.append(d if paper else d * d)
                else:
                    push.append(max(0.0, margin - d) if paper else max(0.0, margin**2 - d * d))
        pulls.append(pull)
        pushes.append(push)

    def mean(groups: list[list[float]]) -> float:
        if paper:
            flat = [value for group in groups for value in group]
            return sum(flat) / max(len(flat), 1)
        means = [sum(group) / len(group) for group in groups if group]
        return sum(means) / max(len(means), 1)

    return mean(pulls), mean(pushes)


@pytest.mark.parametrize("grid", [(4, 5), (15, 26), (1, 1)])
def test_sampling_first_equals_enlarging_first(grid: tuple[int, int]) -> None:
    embeddings = F.normalize(torch.randn(2, 8, 32, *grid), dim=2)
    size = (135, 180)
    pixels = torch.stack([torch.randint(high, (2, 200)) for high in (8, *size)], dim=-1)
    pixels[0, :4] = torch.tensor([[0, 0, 0], [7, 134, 179], [0, 134, 0], [7, 0, 179]])
    expected = enlarge_then_pick(embeddings, pixels, size)
    torch.testing.assert_close(embeddings_at(embeddings, pixels, size), expected, atol=1e-5, rtol=0)


def test_sampling_equals_grid_sample_in_value_and_gradient() -> None:
    embeddings, pixels, _, size = case(clips=1, queries=1)
    one = embeddings.clone().requires_grad_()
    two = embeddings.clone().requires_grad_()
    found = embeddings_at(one, pixels, size)
    place = 2 * (pixels[0, :, [2, 1]] + 0.5) / torch.tensor([size[1], size[0]]) - 1
    read = F.grid_sample(two[0], place[None, None].float(), padding_mode="border", align_corners=False)
    expected = F.normalize(read[0, :, 0].T, dim=-1)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)
    weights = torch.randn_like(expected)
    torch.autograd.backward((found[0] * weights).sum())
    torch.autograd.backward((expected * weights).sum())
    torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("config", "margin"), [(PAPER, 1.0), (STANDARD, 1.0), (STANDARD, 1.4), (PAPER, 1.4)])
def test_equals_pair_by_pair(config: InstanceLossConfig, margin: float) -> None:
    embeddings, pixels, ids, size = case()
    ids[1, :20] = 0  # fewer pairs in the second clip: batch-wide and clip-wide means differ
    config = InstanceLossConfig(form=config.form, margin=margin)
    found = instance_loss({"embeddings": embeddings}, {"pixels": pixels, "ids": ids}, size, config)
    pull, push = naive(enlarge_then_pick(embeddings, pixels, size), ids, config.form == "paper", margin)
    assert float(found["pull"]) == pytest.approx(pull, rel=1e-4)
    assert float(found["push"]) == pytest.approx(push, rel=1e-4, abs=1e-6)
    assert float(found["loss"]) == pytest.approx(pull + push, rel=1e-4)


@pytest.mark.parametrize("config", [PAPER, STANDARD])
def test_defined_without_pairs(config: InstanceLossConfig) -> None:
    embeddings, pixels, ids, size = case()
    embeddings.requires_grad_()
    for marks in (torch.zeros_like(ids), torch.ones_like(ids), torch.eye(2, 30, dtype=torch.long)):
        found = instance_loss({"embeddings": embeddings}, {"pixels": pixels, "ids": marks}, size, config)
        assert all(value.isfinite() for value in found.values())
        torch.autograd.backward(found["loss"])
    assert gradient(embeddings).isfinite().all()


@pytest.mark.parametrize("config", [PAPER, STANDARD])
def test_equal_embeddings_have_a_finite_gradient(config: InstanceLossConfig) -> None:
    embeddings, pixels, ids, size = case()
    same = embeddings[:1, :1, :, :1, :1].expand_as(embeddings).clone().requires_grad_()
    torch.autograd.backward(instance_loss({"embeddings": same}, {"pixels": pixels, "ids": ids}, size, config)["loss"])
    assert gradient(same).isfinite().all()


def test_terms_of_weight_0_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, pixels, ids, size = case()
    config = InstanceLossConfig(push=0.0)
    found = instance_loss({"embeddings": embeddings}, {"pixels": pixels, "ids": ids}, size, config)
    assert set(found) == {"pull", "loss"}


def test_wrong_shapes() -> None:
    embeddings, pixels, ids, size = case()
    with pytest.raises(ConfigError, match="pixels"):
        instance_loss({"embeddings": embeddings}, {"pixels": pixels[:, :5], "ids": ids}, size, PAPER)
