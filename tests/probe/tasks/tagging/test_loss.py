from __future__ import annotations

import math

import pytest
import torch

from configs.errors import ConfigError
from probe.tasks.tagging.config import TaggingLossConfig
from probe.tasks.tagging.loss import asymmetric_paper, asymmetric_standard, tagging_loss
from tests.probe.gradients import gradient


def naive(logits: torch.Tensor, labels: torch.Tensor, gn: float, gp: float, clip: float) -> float:
    total = 0.0
    for row, marks in zip(logits.tolist(), labels.tolist(), strict=True):
        for z, y in zip(row, marks, strict=True):
            p = 1 / (1 + math.exp(-z))
            n = min(1 - p + clip, 1)
            total += -((1 - p) ** gp) * math.log(max(p, 1e-8)) if y else -((1 - n) ** gn) * math.log(max(n, 1e-8))
    return total / len(logits)


@pytest.mark.parametrize(("gn", "gp", "clip"), [(4, 0, 0), (2, 1, 0.05), (0, 0, 0)])
def test_paper_equals_the_formula(gn: float, gp: float, clip: float) -> None:
    logits, labels = 3 * torch.randn(6, 7), torch.randint(2, (6, 7))
    found = asymmetric_paper(logits, labels.float(), gamma_negative=gn, gamma_positive=gp, clip=clip)
    assert float(found) == pytest.approx(naive(logits.double(), labels, gn, gp, clip), rel=1e-5)


@pytest.mark.parametrize(("gn", "gp"), [(4, 0), (2, 1), (0, 0)])
def test_standard_is_the_same_number_per_class_away_from_saturation(gn: float, gp: float) -> None:
    logits, labels = 3 * torch.randn(6, 7), torch.randint(2, (6, 7)).float()
    found = asymmetric_standard(logits, labels, gamma_negative=gn, gamma_positive=gp)
    paper = asymmetric_paper(logits, labels, gamma_negative=gn, gamma_positive=gp, clip=0)
    assert float(7 * found) == pytest.approx(float(paper), rel=1e-4)


def slope(form: str, logit: float, label: int) -> float:
    logits = torch.tensor([[logit]], requires_grad=True)
    config = TaggingLossConfig(form=form)
    torch.autograd.backward(tagging_loss({"logits": logits}, {"labels": torch.tensor([[label]])}, config)["loss"])
    return float(gradient(logits))


def test_confident_mistakes() -> None:
    assert slope("paper", 19.0, 0) == 0.0
    assert slope("standard", 19.0, 0) == pytest.approx(1.0)
    assert slope("standard", 80.0, 0) == pytest.approx(1.0)
    assert slope("standard", -80.0, 1) == pytest.approx(-1.0)
    assert slope("paper", -30.0, 1) == 0.0


def test_focus_is_detached() -> None:
    z, p = 1.0, 1 / (1 + math.exp(-1.0))
    for form in ("paper", "standard"):
        assert slope(form, z, 0) == pytest.approx(p**4 * p, rel=1e-4)


def test_wrong_use() -> None:
    outputs, labels = {"logits": torch.zeros(2, 3)}, torch.zeros(2, 3)
    with pytest.raises(ConfigError, match="Wrong shape of the labels"):
        tagging_loss(outputs, {"labels": torch.zeros(2, 4)}, TaggingLossConfig())
    with pytest.raises(ConfigError, match=r"loss\.clip=0"):
        tagging_loss(outputs, {"labels": labels}, TaggingLossConfig(clip=0.05))
