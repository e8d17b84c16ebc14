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


def inline(part: type) -> Any:
    """Declare a field that holds another configuration dataclass whose keys are typed without a prefix.

    Args:
        part: the dataclass, or a base class of those that an instance may hold there.
    """
    return dataclasses.field(default_factory=part, metadata={"inline": True})


class Option(NamedTuple):
    """One leaf of a configuration: dotted key, type, default and what `option` recorded.

    `path` says where the value is kept: the dotted names of attributes, which `key` leaves out for inline parts.
    """

    key: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...] | None
    minimum: float | None
    maximum: float | None
    path: str


def options_of(start: object) -> list[Option]:
    """Return every leaf option of a configuration dataclass, nested dataclasses included, in declaration order.

    Args:
        start: the dataclass, or an instance whose values are the defaults and whose parts may be of subclasses.

    Raises:
        TypeError: two parts have the same key.
    """
    found = list(_options(start() if isinstance(start, type) else start, "", ""))
    keys = [item.key for item in found]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise TypeError(f"several parts of {type(start).__name__} have the keys {', '.join(twice)}")
    return found


def as_typed(config: object) -> dict[str, Any]:
    """Return a configuration as nested mappings under the keys that are typed, in declaration order."""
    typed: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            typed[field.name] = value
        elif field.metadata.get("inline"):
            typed |= as_typed(value)
        else:
            typed[field.name] = as_typed(value)
    return typed


def _options(start: object, key_prefix: str, path_prefix: str) -> Iterator[Option]:
    hints = get_type_hints(type(start))
    for field in dataclasses.fields(start):  # type: ignore[arg-type]
        default, meta = getattr(start, field.name), field.metadata
        key, path = key_prefix + field.name, path_prefix + field.name
        if dataclasses.is_dataclass(default):
            yield from _options(default, key_prefix if meta.get("inline") else key + ".", path + ".")
            continue
        yield Option(
            key,
            hints[field.name],
            default,
            meta.get("help", ""),
            meta.get("choices"),
            meta.get("minimum"),
            meta.get("maximum"),
            path,
        )
