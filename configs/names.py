"""What the name of a feature source says: which model, at which size, with which weights, which part of an oracle."""

from __future__ import annotations

from dataclasses import dataclass

ORACLE = "oracle"
"""The source whose name may end in the groups that it is made of."""
RANDOM, TINY = "-random", "-tiny"


@dataclass(frozen=True)
class SourceName:
    """A name taken apart; `str()` puts it together again.

    Attributes:
        model: a file in configs/model, or what the user called a store of their own.
        tiny: whether it is the small twin.
        untrained: whether its weights are random.
        groups: groups of a partial oracle, empty for everything else.
    """

    model: str
    tiny: bool = False
    untrained: bool = False
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.model, *self.groups]) + TINY * self.tiny + RANDOM * self.untrained

    @property
    def options(self) -> list[str]:
        """The words after `python -m extract run` that make this source, without the dataset."""
        words = [f"model={self.model}"]
        words += ["weights=random"] if self.untrained else []
        words += ["size=tiny"] if self.tiny else []
        return [*words, f"groups={','.join(self.groups)}"] if self.groups else words


def read_source(name: str) -> SourceName:
    """Return what the name of a single source says, e.g. `wan-t2v-14b-random` or `oracle-depth-rays`."""
    model = name.removesuffix(RANDOM)
    untrained, tiny = model != name, model.endswith(TINY)
    model = model.removesuffix(TINY)
    if model.startswith(f"{ORACLE}-"):
        first, *groups = model.split("-")
        return SourceName(first, tiny, untrained, tuple(groups))
    return SourceName(model, tiny, untrained)
