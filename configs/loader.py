"""From a dataclass, YAML files and `key=value` overrides to one checked, typed configuration object.

Values are data only: interpolation (`${...}`) is refused, so no resolver ever runs. Unknown keys and names fail and
name the closest known ones.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, overload

from configs.errors import ConfigError
from configs.options import Option, as_typed, options_of
from configs.plugins import plugin_folders

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG_FOLDER = Path(__file__).parent
T = TypeVar("T")


def closest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown name: the closest known names, or all if none is close."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names)}" if names else "none are known"


def known_names(group: str) -> list[str]:
    """Return the names of the YAML files in `configs/<group>/`, of the project and of all plug-ins, sorted.

    Raises:
        ConfigError: the same name occurs twice.
    """
    return sorted(_named_files(group))


def known_folders(group: str) -> list[str]:
    """Return the names of the folders with YAML files in `configs/<group>/`, sorted."""
    return sorted({path.parent.name for path in (CONFIG_FOLDER / group).glob("*/*.yaml")})


def load_named(group: str, name: str, *, kind: str | None = None) -> dict[str, Any]:
    """Return the values of `configs/<group>/<name>.yaml`.

    Args:
        group: folder below configs/, with slashes.
        name: file name without `.yaml`.
        kind: what to call it in messages; default the last part of `group`.

    Raises:
        ConfigError: no such file; the message names the closest known ones. Or there are two.
    """
    return read_yaml(named_file(group, name, kind=kind))


def named_file(group: str, name: str, *, kind: str | None = None) -> Path:
    """Return the file that `load_named` reads."""
    label, files = kind or group.rsplit("/", 1)[-1], _named_files(group)
    if name not in files:
        raise ConfigError(f"unknown {label} {name!r}", where=CONFIG_FOLDER / group, fix=closest(name, files))
    return files[name]


def _named_files(group: str) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in (CONFIG_FOLDER, *(plugin.folder / "configs" for plugin in plugin_folders())):
        for path in sorted((folder / group).glob("*.yaml")):
            if path.stem in files:
                raise ConfigError(
                    f"two files are called {path.stem}.yaml",
                    expected="unique names across the project and all plug-ins",
                    found=f"{files[path.stem]} and {path}",
                    fix="rename the one in the plug-in",
                )
            files[path.stem] = path
    return files


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file as plain Python values.

    Raises:
        ConfigError: the file is missing, is not YAML or holds no mapping.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except FileNotFoundError:
        raise ConfigError("no such configuration file", where=path) from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"not a readable YAML file: {error}", where=path) from error
    if not isinstance(loaded, dict):
        raise ConfigError("a configuration file must hold `key: value` lines", found=type(loaded).__name__, where=path)
    return {str(key): value for key, value in loaded.items()}


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """Split `key=value` words. Later ones win.

    Raises:
        ConfigError: a word has no `=` or no key.
    """
    values: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ConfigError(
                f"can't read the argument {word!r}", expected="key=value", fix="add --help to see all keys"
            )
        values[key] = text
    return values


@overload
def resolve(start: type[T], layers: Sequence[Mapping[str, Any]], overrides: Mapping[str, str]) -> T: ...


@overload
def resolve(start: T, layers: Sequence[Mapping[str, Any]], overrides: Mapping[str, str]) -> T: ...


def resolve(start: Any, layers: Sequence[Mapping[str, Any]], overrides: Mapping[str, str]) -> Any:
    """Return a configuration filled by YAML layers, then overrides; all checked.

    Args:
        start: the dataclass, or an instance whose values are the defaults and whose parts may be of subclasses.
        layers: YAML values; later ones win.
        overrides: `key=value` words of the command line; they win over the layers.

    Raises:
        ConfigError: unknown key, wrong type, value out of range, missing mandatory value, or an interpolation.
    """
    from omegaconf import OmegaConf

    first = start() if isinstance(start, type) else start
    known = {option.key: option for option in options_of(first)}
    flat: dict[str, Any] = {}
    for layer in layers:
        flat.update(layer_values(layer, known))
    for key, text in overrides.items():
        flat[key] = _parse(text, _known_option(key, known))
    for key, value in flat.items():
        _known_option(key, known)
        _refuse_interpolation(key, value)
    config = _filled(OmegaConf.structured(first), flat, known)
    missing = [option.key for option in known.values() if OmegaConf.is_missing(*_place(config, option.path))]
    if missing:
        missing.sort()
        raise ConfigError(f"{', '.join(missing)} must be given", fix=f"add {' '.join(f'{key}=...' for key in missing)}")
    for option in known.values():
        _check(option, OmegaConf.select(config, option.path))
    result = OmegaConf.to_object(config)
    assert isinstance(result, type(first))
    return result


def _filled(config: DictConfig, flat: Mapping[str, Any], known: Mapping[str, Option]) -> DictConfig:
    """Return a configuration with the given values set; an error names the first that doesn't fit."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        filled = OmegaConf.merge(config, *(_nested(known[key].path, value) for key, value in flat.items()))
        assert isinstance(filled, DictConfig)
        return filled
    except OmegaConfBaseException:
        pass
    for key, value in flat.items():
        option = known[key]
        try:
            OmegaConf.merge(config, _nested(option.path, value))
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"wrong type for {key}", expected=type_name(option.type), found=repr(value), fix=option.help or None
            ) from error
    raise AssertionError("values that are valid one by one must be valid together")


def _nested(path: str, value: Any) -> dict[str, Any]:
    outer, _, inner = path.partition(".")
    return {outer: _nested(inner, value) if inner else value}


def _place(config: DictConfig, path: str) -> tuple[DictConfig, str]:
    from omegaconf import OmegaConf

    outer, _, name = path.rpartition(".")
    return (OmegaConf.select(config, outer) if outer else config), name


def to_yaml(config: object) -> str:
    """Return a configuration object as YAML text under the keys that are typed, in declaration order."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(as_typed(config)))


def type_name(kind: Any) -> str:
    """Return a type in readable form: `int`, `list of str`, `float or none`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join("none" if arg is NoneType else type_name(arg) for arg in args)
    if origin in (list, tuple):
        return f"list of {type_name(args[0])}" if args else "list"
    if origin is dict:
        return "mapping"
    return {"str": "text"}.get(getattr(kind, "__name__", str(kind)), getattr(kind, "__name__", str(kind)))


def _known_option(key: str, known: Mapping[str, Option]) -> Option:
    if key not in known:
        inside = [name for name in known if name.startswith(key + ".")]
        if inside:
            raise ConfigError(f"{key} is a group of keys", expected=", ".join(inside))
        raise ConfigError(f"unknown key {key!r}", fix=closest(key, known))
    return known[key]


def layer_values(layer: Mapping[str, Any], known: Mapping[str, Option], prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> value of a nested YAML mapping; a mapping that is itself an option's value stays whole."""
    flat: dict[str, Any] = {}
    for name, value in layer.items():
        key = prefix + str(name)
        if isinstance(value, Mapping) and key not in known:
            flat.update(layer_values(value, known, key + "."))
        else:
            flat[key] = value
    return flat


def _accepts(kind: Any, wanted: type) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(_accepts(arg, wanted) for arg in get_args(kind))
    return kind is wanted or get_origin(kind) is wanted


def _parse(text: str, option: Option) -> Any:
    """Read an override: text fields keep it letter for letter, lists may be written `1,2,3`."""
    from omegaconf import OmegaConf
    from yaml import BaseLoader, YAMLError, load

    if text.strip().lower() in ("null", "none") and _accepts(option.type, NoneType):
        return None
    if _accepts(option.type, list) and not text.lstrip().startswith("["):
        text = f"[{text}]"
    elif _accepts(option.type, str):
        return text
    try:
        if option.type == list[str]:
            return load(text, BaseLoader)  # which makes texts only
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)["value"]  # type: ignore[index,call-overload]
    except (YAMLError, ValueError) as error:
        raise ConfigError(
            f"can't read the value of {option.key}", expected=type_name(option.type), found=repr(text)
        ) from error


def _refuse_interpolation(key: str, value: Any) -> None:
    items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    if any(isinstance(item, str) and "${" in item for item in items):
        raise ConfigError(f"{key} holds an interpolation", found=repr(value), fix="write the value itself")


def _check(option: Option, value: Any) -> None:
    from omegaconf import ListConfig

    if value is None:
        return
    for item in value if isinstance(value, (list, ListConfig)) else [value]:
        if option.choices and item not in option.choices:
            raise ConfigError(f"unknown {option.key} {item!r}", fix=closest(str(item), option.choices))
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            continue
        if isinstance(item, float) and not math.isfinite(item):
            raise ConfigError(f"{option.key} must be finite", found=item)
        low, high = option.minimum, option.maximum
        if (low is not None and item < low) or (high is not None and item > high):
            limits = (
                f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
            )
            raise ConfigError(f"{option.key} is out of range", expected=limits, found=item)
