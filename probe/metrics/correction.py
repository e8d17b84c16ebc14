"""Correction of p values for how many comparisons were made."""

from __future__ import annotations

import math
from collections.abc import Mapping

from configs.errors import ConfigError


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: adjusted p values that control the family-wise error rate.

    Args:
        p_values: comparison -> p value; NaN stays NaN and is no member of the family.

    Returns:
        comparison -> adjusted p value in [0, 1], in the order given.

    Raises:
        ConfigError: a p value outside [0, 1].
    """
    bad = {name: p for name, p in p_values.items() if not (math.isnan(p) or 0.0 <= p <= 1.0)}
    if bad:
        raise ConfigError("A p value lies between 0 and 1", expected="[0, 1]", found=bad, where="p_values")
    adjusted = dict.fromkeys(p_values, math.nan)
    family = sorted((name for name, p in p_values.items() if not math.isnan(p)), key=lambda name: p_values[name])
    highest = 0.0
    for rank, name in enumerate(family):
        highest = max(highest, min(1.0, (len(family) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted
