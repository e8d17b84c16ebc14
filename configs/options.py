"""Fields of configuration dataclasses: a default, a one-line meaning and, for names, the legal choices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, get_type_hints


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """Declare a field of a configuration dataclass.

    Args:
        default: the value when no YAML file and no override sets it; leave out for a field that must be given.
        help: one line that says what it means, with units.
        choices: the legal values of a text field.
        minimum, maximum: inclusive limits of a number (of each item of a list).
        factory: makes the default when it is a list or dict.
    """
    metadata = {"help": help, "choices": tuple(choices) if choices else None, "minimum": minimum, "maximum": maximum}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    if default is dataclasses.MISSING:
        return dataclasses.field(default="???", metadata=metadata)  # OmegaConf's mark of a mandatory value
    return dataclasses.field(default=default, metadata=metadata)


class Option(NamedTuple):
    """One leaf of a configuration: dotted key, type, default and what `option` recorded."""

    key: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...] | None
    minimum: float | None
    maximum: float | None


def options_of(schema: type, prefix: str = "") -> Iterator[Option]:
    """Yield every leaf option of a configuration dataclass, nested dataclasses included, in declaration order."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind, key = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield from options_of(kind, key + ".")
            continue
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        meta = field.metadata
        yield Option(
            key, kind, default, meta.get("help", ""), meta.get("choices"), meta.get("minimum"), meta.get("maximum")
        )
