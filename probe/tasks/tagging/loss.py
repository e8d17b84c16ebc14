"""Asymmetric loss for multi-label tagging (Ridnik et al. 2021)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.metrics.arrays import Kind
from probe.net.loss_terms import require_tensor, weighted_sum
from probe.tasks.tagging.config import TaggingLossConfig

FLOOR = 1e-8


def asymmetric_paper(
    logits: Tensor, labels: Tensor, *, gamma_negative: float, gamma_positive: float, clip: float
) -> Tensor:
    """Published form: log of a clamped probability, detached focusing factor, sum over classes, mean over clips.

    With p = sigmoid(logit) and n = min(1 - p + clip, 1): -(1-p)^gamma+ log max(p, 1e-8) for present and
    -(1-n)^gamma- log max(n, 1e-8) for absent classes. An absent class with a logit of 17 or more gets no gradient.

    Args:
        logits: (B, classes) float.
        labels: (B, classes) float, 0 or 1.
        gamma_negative, gamma_positive: focusing exponents.
        clip: probability shift.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require(logits, labels)
    present = labels > 0.5
    p = logits.sigmoid()
    likelihood = p.where(present, (1 - p + clip).clamp(max=1))
    gamma = labels.new_tensor(gamma_negative).where(~present, gamma_positive)
    focus = (1 - likelihood.detach()) ** gamma
    return -(focus * likelihood.clamp(min=FLOOR).log()).sum(dim=1).mean()


def asymmetric_standard(logits: Tensor, labels: Tensor, *, gamma_negative: float, gamma_positive: float) -> Tensor:
    """Corrected form: log-sigmoids, so that confident mistakes keep a gradient; mean over classes and clips.

    Args:
        logits: (B, classes) float.
        labels: (B, classes) float, 0 or 1.
        gamma_negative, gamma_positive: focusing exponents; the focusing factor is detached.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require(logits, labels)
    present = labels > 0.5
    sign = 2.0 * present.to(logits.dtype) - 1.0
    mistake = (-sign * logits).sigmoid().detach()
    gamma = logits.new_tensor(gamma_negative).where(~present, gamma_positive)
    return -(mistake**gamma * F.logsigmoid(sign * logits)).mean()


def _require(logits: Tensor, labels: Tensor, kind: Kind = "float") -> None:
    require_tensor(logits, (None, None), "float", "logits", fix="pass one row per clip and one column per class")
    require_tensor(labels, logits.shape, kind, "labels", fix="pass one label per logit")


def tagging_loss(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], config: TaggingLossConfig
) -> dict[str, Tensor]:
    """Loss of a tagging probe.

    Args:
        outputs: `logits` (B, classes) float.
        targets: `labels` (B, classes), 0 or 1, as bool, integer or float.
        config: form and exponents.

    Returns:
        `asymmetric` and `loss`, scalars.

    Raises:
        ConfigError: shapes differ, a dtype is wrong, or a probability shift with the standard form.
    """
    logits, labels = outputs["logits"], targets["labels"]
    _require(logits, labels, "number")
    logits = logits.float()
    labels = labels.to(logits.dtype)
    gammas = {"gamma_negative": config.gamma_negative, "gamma_positive": config.gamma_positive}
    if config.form == "paper":
        return weighted_sum({"asymmetric": (1.0, lambda: asymmetric_paper(logits, labels, clip=config.clip, **gammas))})
    if config.clip:
        raise ConfigError(
            "a probability shift takes the gradient from confident mistakes",
            expected="loss.clip=0 with loss.form=standard",
            found=config.clip,
            fix="set loss.clip=0 or loss.form=paper",
        )
    return weighted_sum({"asymmetric": (1.0, lambda: asymmetric_standard(logits, labels, **gammas))})
