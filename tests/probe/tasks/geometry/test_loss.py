from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from configs.errors import ConfigError
from probe.tasks.geometry import loss as module
from probe.tasks.geometry.config import GeometryLossConfig
from probe.tasks.geometry.loss import (
    camera_paper,
    camera_standard,
    dense_paper,
    dense_standard,
    geometry_loss,
    gradient_term,
)
from tests.probe.gradients import gradient

PAPER = GeometryLossConfig(form="paper")
STANDARD = GeometryLossConfig(form="standard")


def case(
    clips: int = 2, queries: int = 3, size: tuple[int, int] = (6, 8)
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    shape = (clips, queries, *size)
    outputs = {
        "depth": torch.rand(shape) + 0.5,
        "points": torch.randn(*shape, 3),
        "pose_steps": torch.randn(4, clips, queries, 9),
    }
    targets = {
        "depth": torch.rand(shape) + 0.5,
        "points": torch.randn(*shape, 3),
        "confidence": 1 + 5 * torch.rand(shape),
        "pose": torch.randn(clips, queries, 9),
    }
    return outputs, targets


def naive_dense(x: Tensor, y: Tensor, q: Tensor, m: Tensor, normalise: bool) -> float:
    """Pixel by pixel, from the formulas."""
    x, y, q, m = x.double(), y.double(), q.double(), m.double()
    if normalise:
        for clip in range(len(x)):
            for maps in (x, y):
                lengths = maps[clip].norm(dim=-1).flatten().tolist()
                total = sum(n * w for n, w in zip(lengths, m[clip].flatten().tolist(), strict=True))
                maps[clip] /= min(max(total / (float(m[clip].sum()) + 1e-3), 1e-3), 1e3)
    values = []
    for a, b, weight, valid in zip(
        x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]), q.flatten(), m.flatten(), strict=True
    ):
        if valid:
            values.append(min(float(weight) * min(float((a - b).norm()), 100.0), 100.0))
    return sum(values) / max(len(values), 1)


def test_paper_terms_equal_the_formulas() -> None:
    outputs, targets = case()
    targets["mask"] = torch.rand(targets["depth"].shape) > 0.3
    found = geometry_loss(outputs, targets, PAPER)
    q, m = targets["confidence"], targets["mask"]
    points = naive_dense(outputs["points"].clone(), targets["points"].clone(), q, m, True)
    depth = naive_dense(outputs["depth"][..., None], targets["depth"][..., None], q, m, False)
    assert float(found["points"]) == pytest.approx(points, rel=1e-4)
    assert float(found["depth"]) == pytest.approx(depth, rel=1e-4)
    total = found["points"] + found["depth"] + found["camera"]
    assert float(found["loss"]) == pytest.approx(float(total), rel=1e-6)


def naive_camera(steps: Tensor, target: Tensor) -> float:
    total, count = 0.0, len(steps)
    for i in range(count):
        for part, factor in ((range(3), 1.0), (range(3, 7), 1.0), (range(7, 9), 0.5)):
            values = []
            for predicted, true in zip(steps[i].reshape(-1, 9).tolist(), target.reshape(-1, 9).tolist(), strict=True):
                for k in part:
                    a = abs(predicted[k] - true[k])
                    values.append(min(0.5 * a * a if a <= 1 else a - 0.5, 100.0))
            total += factor * 0.6 ** (count - 1 - i) * sum(values) / len(values) / count
    return total


def test_paper_camera_equals_the_formula() -> None:
    steps, target = 2 * torch.randn(4, 2, 3, 9), torch.randn(2, 3, 9)
    assert float(camera_paper(steps, target)) == pytest.approx(naive_camera(steps, target), rel=1e-5)
    constant = torch.zeros(4, 1, 1, 9)
    constant[..., :3] = 1.0
    assert float(camera_paper(constant, torch.zeros(1, 1, 9))) == pytest.approx(0.5 * 2.176 / 4, rel=1e-6)


def naive_gradient(x: Tensor, y: Tensor, q: Tensor, m: Tensor) -> float:
    total = 0.0
    for queries in ([0], list(range(1, x.shape[1]))):
        for scale in range(4):
            step, s, pixels = 2**scale, 0.0, 0.0
            for b in range(len(x)):
                for v in queries:
                    d = ((x - y) * m[..., None])[b, v, ::step, ::step]
                    mm, qq = m[b, v, ::step, ::step], q[b, v, ::step, ::step]
                    pixels += float(mm.sum())
                    for r in range(d.shape[0]):
                        for c in range(d.shape[1]):
                            for rr, cc in ((r, c + 1), (r + 1, c)):
                                if rr < d.shape[0] and cc < d.shape[1] and mm[r, c] and mm[rr, cc]:
                                    s += float((d[rr, cc] - d[r, c]).abs().clamp(max=100).sum() * qq[rr, cc])
            total += s / max(pixels * x.shape[-1], 1) / 4
    return total


def test_gradient_term_equals_the_formula() -> None:
    outputs, targets = case(size=(5, 9))
    mask = (torch.rand(targets["depth"].shape) > 0.3).float()
    found = gradient_term(outputs["points"], targets["points"], targets["confidence"], mask)
    expected = naive_gradient(outputs["points"], targets["points"], targets["confidence"], mask)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_paper_clamp_takes_the_gradient_and_standard_keeps_it() -> None:
    target, ones = torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    for q, error, loss, slope in ((30.0, 5.0, 100.0, 0.0), (3.0, 5.0, 15.0, 3.0), (1.0, 500.0, 100.0, 0.0)):
        x = torch.full_like(target, error).requires_grad_()
        value = dense_paper(x, target, q * ones, ones)
        torch.autograd.backward(value)
        assert value.item() == pytest.approx(loss) and float(gradient(x)) == slope
    for q, error in ((30.0, 5.0), (1.0, 1e4)):
        x = torch.full_like(target, error).requires_grad_()
        torch.autograd.backward(dense_standard(x, target, q * ones, ones, robust="huber", delta=0.1))
        assert float(gradient(x)) == pytest.approx(1.0)
        x = torch.full_like(target, error).requires_grad_()
        torch.autograd.backward(dense_standard(x, target, q * ones, ones, robust="log1p", delta=0.1))
        assert float(gradient(x)) == pytest.approx(1 / (0.1 + error), rel=1e-4)


@pytest.mark.parametrize("robust", ["huber", "log1p"])
def test_standard_dense_equals_the_formula(robust: str) -> None:
    x, y = torch.randn(2, 2, 3, 4, 3), torch.randn(2, 2, 3, 4, 3)
    q, m = torch.rand(2, 2, 3, 4) + 0.1, (torch.rand(2, 2, 3, 4) > 0.4).float()
    m[1, 1] = 0
    means = []
    for clip in range(2):
        weights = [float(w) for w, valid in zip(q[clip].flatten(), m[clip].flatten(), strict=True) if valid]
        average = sum(weights) / len(weights)
        errors = (x[clip] - y[clip]).norm(dim=-1).flatten()
        values = []
        for e in (float(e) for e, valid in zip(errors, m[clip].flatten(), strict=True) if valid):
            huber = 0.5 * e * e / 0.7 if e <= 0.7 else e - 0.35
            values.append(huber if robust == "huber" else math.log(1 + e / 0.7))
        means.append(sum(w / average * v for w, v in zip(weights, values, strict=True)) / len(values))
    found = dense_standard(x, y, q, m, robust=robust, delta=0.7)
    assert float(found) == pytest.approx(sum(means) / 2, rel=1e-4)


def test_standard_ignores_the_scale_of_confidences() -> None:
    outputs, targets = case()
    one = geometry_loss(outputs, targets, STANDARD)["loss"]
    two = geometry_loss(outputs, {**targets, "confidence": 1000 * targets["confidence"]}, STANDARD)["loss"]
    torch.testing.assert_close(one, two)


def test_standard_ignores_unknown_pixels_and_poses() -> None:
    outputs, targets = case()
    outputs = {name: value.requires_grad_() for name, value in outputs.items()}
    targets["depth"][:, :, :2] = 0.0
    targets["pose_valid"] = torch.tensor([[True, True, False], [True, True, True]])
    expected = geometry_loss(outputs, targets, STANDARD)["loss"]
    spoiled = {name: value.clone() for name, value in targets.items()}
    spoiled["points"][:, :, :2] = float("nan")
    spoiled["confidence"][:, :, :2] = float("inf")
    spoiled["pose"][0, 2] = float("nan")
    found = geometry_loss(outputs, spoiled, STANDARD)["loss"]
    torch.testing.assert_close(found, expected)
    torch.autograd.backward(found)
    assert all(gradient(value).isfinite().all() for value in outputs.values())
    assert (gradient(outputs["depth"])[:, :, :2] == 0).all()


def test_standard_camera() -> None:
    target = torch.zeros(1, 3, 9)
    target[..., 6] = 1.0
    steps = torch.zeros(4, 1, 3, 9)
    steps[..., 6] = -2.0  # the same rotation, other sign and length
    assert float(camera_standard(steps, target, delta=1.0)) == pytest.approx(0.0, abs=1e-12)
    steps[:, :, 0, :3] = 5.0  # motion of query 0 doesn't count
    assert float(camera_standard(steps, target, delta=1.0)) == pytest.approx(0.0, abs=1e-12)
    steps[:, :, 1, :3] = 0.6
    assert float(camera_standard(steps, target, delta=1.0)) == pytest.approx(0.5 * 0.36 / 2, rel=1e-5)
    assert float(camera_standard(steps, target, delta=0.1)) == pytest.approx((0.6 - 0.05) / 2, rel=1e-5)
    half = camera_standard(steps, target, delta=0.1, floor=2.0)  # nothing moved, so 0.6 counts as 0.3
    assert float(half) == pytest.approx((0.3 - 0.05) / 2, rel=1e-5)
    one_query = camera_standard(steps[:, :, :1] + 1.0, target[:, :1], delta=1.0)
    assert float(one_query) == pytest.approx(0.5 * 0.5, rel=1e-5)


def test_standard_camera_keeps_a_gradient_far_away() -> None:
    steps = torch.full((4, 1, 2, 9), 1e4, requires_grad=True)
    torch.autograd.backward(camera_standard(steps, torch.zeros(1, 2, 9), delta=0.05))
    assert (gradient(steps)[:, 0, 1, :3] > 0).all()
    paper = torch.full((4, 1, 2, 9), 1e4, requires_grad=True)
    torch.autograd.backward(camera_paper(paper, torch.zeros(1, 2, 9)))
    assert (gradient(paper) == 0).all()


@pytest.mark.parametrize("config", [PAPER, STANDARD])
def test_all_depths_unknown(config: GeometryLossConfig) -> None:
    outputs, targets = case()
    outputs = {name: value.requires_grad_() for name, value in outputs.items()}
    targets["depth"][1] = 0.0
    targets["mask"] = targets["depth"] > 0
    half = geometry_loss(outputs, targets, config)
    if config.form == "standard":
        alone = [
            {name: value[:1] for name, value in part.items() if name != "pose_steps"} for part in (outputs, targets)
        ]
        alone[0]["pose_steps"] = outputs["pose_steps"][:, :1]
        assert float(half["depth"]) == pytest.approx(float(geometry_loss(alone[0], alone[1], config)["depth"]))
    targets["mask"][:] = False
    none = geometry_loss(outputs, targets, config)
    assert none["depth"].item() == none["points"].item() == 0.0
    torch.autograd.backward(none["loss"])
    assert all(gradient(value).isfinite().all() for value in outputs.values())


@pytest.mark.parametrize("config", [PAPER, STANDARD])
def test_static_camera_and_one_query(config: GeometryLossConfig) -> None:
    outputs, targets = case(clips=1, queries=1)
    targets["pose"][:] = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1.0, 1.2])
    assert geometry_loss(outputs, targets, config)["loss"].isfinite()


@pytest.mark.parametrize("form", ["paper", "standard"])
def test_terms_of_weight_0_are_never_evaluated(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **keywords: object) -> Tensor:
        raise AssertionError("evaluated a term of weight 0")

    outputs, targets = case()
    monkeypatch.setattr(module, "gradient_term", refuse)
    assert set(geometry_loss(outputs, targets, GeometryLossConfig(form=form))) == {"points", "depth", "camera", "loss"}
    for name in ("camera_paper", "camera_standard", "normalised"):
        monkeypatch.setattr(module, name, refuse)
    only_depth = GeometryLossConfig(form=form, points=0.0, camera=0.0)
    assert set(geometry_loss(outputs, targets, only_depth)) == {"depth", "loss"}
    with pytest.raises(AssertionError, match="weight 0"):
        geometry_loss(outputs, targets, GeometryLossConfig(form=form, depth_gradient=1.0))


def test_all_weights_0() -> None:
    outputs, targets = case()
    with pytest.raises(ConfigError, match="weight 0"):
        geometry_loss(outputs, targets, GeometryLossConfig(points=0.0, depth=0.0, camera=0.0))


@pytest.mark.parametrize("form", ["paper", "standard"])
def test_gradient_terms_can_be_weighted(form: str) -> None:
    outputs, targets = case()
    config = GeometryLossConfig(form=form, points_gradient=0.5, depth_gradient=2.0)
    found = geometry_loss(outputs, targets, config)
    total = sum(found[name] for name in ("points", "depth", "camera"))
    total = total + 0.5 * found["points_gradient"] + 2 * found["depth_gradient"]
    torch.testing.assert_close(found["loss"], total)


def test_maps_of_another_size() -> None:
    outputs, targets = case()
    targets["depth"] = targets["depth"][..., :4]
    with pytest.raises(ConfigError, match="output_size"):
        geometry_loss(outputs, targets, PAPER)
