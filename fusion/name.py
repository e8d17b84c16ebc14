"""Names of fused sources: `a+b`, `a+b@zscore`, `a+noise~4096`, `a@random9216`; what a user writes as MODEL=."""

from __future__ import annotations

import dataclasses
import re

from configs.errors import ConfigError
from configs.loader import closest, known_names

DEFAULT_VARIANT = "lnconcat"
"""What `a+b` means: the published fusion."""

NOISE = "noise"
"""A branch of seeded Gaussian noise; needs a width, as in `noise~4096`."""

_BRANCH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)(?:~([1-9][0-9]*))?")
_VARIANT = re.compile(r"([a-z]+)([1-9][0-9]*)?")


@dataclasses.dataclass(frozen=True)
class BranchName:
    """One branch.

    Attributes:
        source: name of a feature store's source, or `noise`.
        width: channels that the branch is brought to by a fixed random projection (of noise: drawn); 0 keeps its own.
    """

    source: str
    width: int = 0

    def __str__(self) -> str:
        return f"{self.source}~{self.width}" if self.width else self.source


@dataclasses.dataclass(frozen=True)
class FusionName:
    """A parsed name.

    Attributes:
        branches: in the order in which they are concatenated.
        variant: name of a file in configs/fusion.
        width: channels of each branch where the variant projects; 0 takes the variant's own.
    """

    branches: tuple[BranchName, ...]
    variant: str = DEFAULT_VARIANT
    width: int = 0

    @property
    def joined(self) -> bool:
        """Whether it means more than a plain feature store."""
        plain = FusionName((BranchName(self.branches[0].source),))
        return self != plain or self.branches[0].source == NOISE

    def __str__(self) -> str:
        text = "+".join(map(str, self.branches))
        if self.variant != DEFAULT_VARIANT or self.width:
            text += f"@{self.variant}{self.width or ''}"
        return text


def parse_name(text: str) -> FusionName:
    """Return what a name means.

    Args:
        text: `branch+branch...@variant<width>`; a branch is `source` or `source~<width>`.

    Raises:
        ConfigError: it can't be read, or names an unknown variant.
    """
    branches, at, variant = text.partition("@")
    parts = [_BRANCH.fullmatch(part) for part in branches.split("+")]
    variant = variant or ("" if at else DEFAULT_VARIANT)
    chosen = _VARIANT.fullmatch(variant)
    if not chosen or not all(parts):
        raise ConfigError(
            f"can't read the name {text!r}",
            expected="a source, or sources joined by + such as wan-t2v-14b+qwen3-vl-8b, a+b@zscore, a+noise~4096",
        )
    known = known_names("fusion")
    kind, width = (variant, 0) if variant in known else (chosen[1], int(chosen[2] or 0))  # `l2` has no width
    if kind not in known:
        raise ConfigError(f"unknown variant {variant!r} of fusion", where=text, fix=closest(variant, known))
    names = tuple(BranchName(part[1], int(part[2] or 0)) for part in parts if part)
    for name in names:
        if name.source == NOISE and not name.width:
            raise ConfigError("noise needs a width", found=text, fix="write noise~<channels>, for example noise~4096")
    return FusionName(names, kind, width)
