"""Names that users type: models and their twins, parts of the oracle, joined sources, and words for blocks.

A source is a model (`wan-t2v-14b`), one of its twins (`-tiny`, `-random`), a part of the oracle (`oracle-depth-rays`),
or several sources joined (`a+b@zscore`, `a~256`). What the YAML files in `configs/model` say of a model is read here.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from configs.console import get_logger
from configs.errors import ConfigError
from configs.loader import CONFIG_FOLDER, closest, known_names, named_file, read_yaml

ORACLE = "oracle"
"""The source whose name may end in the groups that it is made of."""
RANDOM, TINY = "-random", "-tiny"
DEFAULT_VARIANT = "lnconcat"
"""What `a+b` means: the published fusion."""
NOISE = "noise"
"""A branch of seeded Gaussian noise; needs a width, as in `noise~4096`."""
SIGNS = "+@~"
"""Characters that names of joined sources have and names of stores don't."""

_BRANCH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)(?:~([1-9][0-9]*))?")
_VARIANT = re.compile(r"([a-z]+)([1-9][0-9]*)?")


# ---- single sources


@dataclass(frozen=True)
class SourceName:
    """The parsed name of a single source; `str()` gives the name back.

    Attributes:
        model: a file in configs/model, or the name that the user gave a store.
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


def read_source(name: str) -> SourceName:
    """Return the parts of a single source's name, e.g. of `wan-t2v-14b-random` or `oracle-depth-rays`."""
    model = name.removesuffix(RANDOM)
    untrained, tiny = model != name, model.endswith(TINY)
    model = model.removesuffix(TINY)
    if model.startswith(f"{ORACLE}-"):
        first, *groups = model.split("-")
        return SourceName(first, tiny, untrained, tuple(groups))
    return SourceName(model, tiny, untrained)


def untrained_twin(name: str) -> str:
    """Return the name of the same network with random weights."""
    return str(dataclasses.replace(read_source(name), untrained=True))


# ---- models: what configs/model/<name>.yaml says


def model_names() -> list[str]:
    """Return the names of all models and controls, without aliases, sorted."""
    return [name for name, values in _all_models().items() if not values.get("alias_of")]


def alias_names() -> dict[str, str]:
    """Return the family aliases and the model that each stands for."""
    return {name: str(values["alias_of"]) for name, values in _all_models().items() if values.get("alias_of")}


def _all_models() -> dict[str, Mapping[str, Any]]:
    """Return the values of all files; those of plug-ins that can't be read are named in a warning."""
    found = {}
    for name in known_names("model"):
        try:
            found[name] = model_values(name)
        except ConfigError as error:
            if named_file("model", name).is_relative_to(CONFIG_FOLDER):
                raise
            _skip(str(error))
    return found


@functools.cache
def _skip(problem: str) -> None:
    get_logger("plugins").warning("skipping a model of a plug-in: %s", problem)


def model_values(name: str) -> Mapping[str, Any]:
    """Return the values of `configs/model/<name>.yaml`, empty for a name without such a file. Not to be changed."""
    return _read_once(named_file("model", name)) if name in known_names("model") else {}


_read_once = functools.cache(read_yaml)


def resolve_alias(name: str, has_store: Callable[[str], bool] = lambda name: False) -> str:
    """Return the model that an alias stands for; any other name as it is.

    Args:
        name: of a model or a source.
        has_store: whether a store has that very name, which then means the store.
    """
    target = model_values(name).get("alias_of")
    return str(target) if target and not has_store(name) else name


def model_kind(source: str) -> str:
    """Return the kind of a single source's model: `vgm`, `vlm`, `encoder`, `control`, or `other` if it is unknown."""
    model = resolve_alias(read_source(source).model)
    return str(model_values(model).get("kind", "other"))


def close_sources(source: str, there: Iterable[str]) -> list[str]:
    """Return those of some sources that are twins of one, or other parts of its oracle, sorted.

    Args:
        source: single source that is wanted; an alias counts as its model.
        there: names of single and joined sources.
    """
    model = read_source(resolve_alias(source)).model
    return sorted(name for name in set(there) - {source} if not is_joined(name) and read_source(name).model == model)


def own_grid(model: str, native: tuple[int, int]) -> tuple[int, int]:
    """Return the grid (rows, columns) at which a model's features are stored unless another one is asked for.

    The paper's where it has one, at the same ratio for twins and taps of another native grid; else the native one.

    Args:
        model: name of the model.
        native: grid of the tap.
    """
    values = model_values(model)
    paper, full = list(values.get("paper_grid") or []), list(values.get("grid") or [])
    if len(paper) != 2 or len(full) != 2:
        return native
    if native[0] >= paper[0] and native[1] >= paper[1]:
        return int(paper[0]), int(paper[1])
    return max(1, native[0] * paper[0] // full[0]), max(1, native[1] * paper[1] // full[1])


# ---- joined sources


@dataclass(frozen=True)
class BranchName:
    """One branch of a joined source.

    Attributes:
        source: name of a single source, or `noise`.
        width: channels that the branch is brought to by a fixed random projection (of noise: drawn); 0 keeps its own.
    """

    source: str
    width: int = 0

    def __str__(self) -> str:
        return f"{self.source}~{self.width}" if self.width else self.source


@dataclass(frozen=True)
class FusionName:
    """The name of a source that may be joined from several.

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


def is_joined(source: str) -> bool:
    """Whether a name is that of several sources, or of one in another form, and so not a plain store's."""
    return any(sign in source for sign in SIGNS)


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


def read_models(text: str, variant: str = "", width: int = 0) -> FusionName:
    """Return the name for models written with spaces, commas or `+`.

    Args:
        text: as a user writes `model=`; may end in `@variant<width>`.
        variant, width: if given, take the place of those in the text.

    Raises:
        ConfigError: it can't be read, or names nothing.
    """
    models, at, ending = text.strip().partition("@")
    words = models.replace(",", " ").replace("+", " ").split()
    if not words:
        raise ConfigError("no models", fix='name them: model="wan-t2v-14b qwen3-vl-8b"')
    name = parse_name("+".join(words) + at + ending)
    return dataclasses.replace(name, variant=variant or name.variant, width=width or name.width)


# ---- words for blocks


def even_blocks(word: str, total: int) -> list[int] | None:
    """Return the blocks that a word such as `even4` means: evenly spaced, the last one among them.

    Args:
        word: `even` and how many.
        total: blocks of the network.

    Returns:
        Increasing numbers of blocks that have run; None for any other word.
    """
    count = word.removeprefix("even")
    if word == count or not count.isdigit() or int(count) < 1:
        return None
    return sorted({max(1, round(total * (step + 1) / int(count))) for step in range(int(count))})


def scaled_block(block: int, blocks: int, total: int) -> int:
    """Return the block at the same relative depth of a network with `total` instead of `blocks` blocks."""
    return max(1, round(block / blocks * total))
