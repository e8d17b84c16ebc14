"""What every metric returns for one clip: numbers, counts, and the reason wherever a number is undefined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from configs.errors import ConfigError

Variant: TypeAlias = Literal["standard", "paper"]
"""`standard`: the corrected definitions. `paper`: the definitions as published, defects included."""


def check_variant(variant: str) -> None:
    """Reject unknown variants.

    Raises:
        ConfigError: the name is not one of `Variant`.
    """
    if variant not in get_args(Variant):
        raise ConfigError(
            "Unknown variant of a metric",
            expected=" or ".join(get_args(Variant)),
            found=repr(variant),
            where="variant",
            fix="set variant=standard (corrected) or variant=paper (as published)",
        )


@dataclass(frozen=True)
class ClipScore:
    """Metric values of one clip, or of any other unit that a metric is computed on.

    Attributes:
        values: metric key -> number. NaN where undefined, except where the published definition says 0.
        counts: what the values rest on (pixels, pairs, objects), as integers.
        undefined: metric key -> why it has no meaning here. Means over clips leave these keys out and count them.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Add a reason for every NaN without one, so that no value goes missing silently."""
        reasons = dict(self.undefined)
        for key, value in self.values.items():
            if math.isnan(value):
                reasons.setdefault(key, "not a number")
        object.__setattr__(self, "undefined", reasons)

    def __or__(self, other: ClipScore) -> ClipScore:
        """Join the scores of several metrics of the same clip; later keys win."""
        return ClipScore(
            {**self.values, **other.values}, {**self.counts, **other.counts}, {**self.undefined, **other.undefined}
        )

    @classmethod
    def without_value(
        cls, keys: tuple[str, ...], reason: str, counts: Mapping[str, int] | None = None, *, value: float = math.nan
    ) -> ClipScore:
        """Score whose metrics `keys` are all undefined for the same reason.

        Args:
            keys: metric keys.
            reason: why, in a few words.
            counts: what was counted all the same.
            value: number to report; NaN unless the published definition names one.
        """
        return cls(dict.fromkeys(keys, value), dict(counts or {}), dict.fromkeys(keys, reason))
