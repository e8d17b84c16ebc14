"""The command line that all stages share: `spatialprobe <stage> <verb> key=value ... [--help] [--show]`."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from configs import loader, plugins
from configs.commands import PROGRAM, command
from configs.console import get_logger, logging_to
from configs.errors import DISK_FIXES, ConfigError, SpatialprobeError
from configs.files import logs_path
from configs.options import Option, as_typed, option, options_of

Config = TypeVar("Config")
"""The dataclass that one verb fills."""
ConfigCo = TypeVar("ConfigCo", covariant=True)


@dataclasses.dataclass(frozen=True)
class RootConfig:
    """What every verb takes."""

    root: str | None = option(None, "artifact root; default $SPATIALPROBE_HOME, else ./artifacts")


@dataclasses.dataclass(frozen=True)
class Layers(Generic[ConfigCo]):
    """What a verb fills for given arguments: a configuration with its defaults, and the YAML values below them."""

    start: ConfigCo
    values: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True)
class Verb(Generic[Config]):
    """One command of a stage.

    Attributes:
        name: what the user types.
        help: one line.
        config: the dataclass that the arguments fill; or a function from the raw `key=value` mapping to `Layers`,
            where the parts or the YAML files depend on them (`dataset=`, `preset=`, `model=`).
        run: does the work; returns the exit code (None counts as 0). Import heavy modules inside it.
        writes: whether the verb changes anything below the artifact root, and so keeps a log there.
        words: keys that plain words without `=` fill, in this order.
        selects: keys that decide which options there are, and functions that return their values; for completion.
    """

    name: str
    help: str
    config: type[Config] | Callable[[Mapping[str, str]], Layers[Config]]
    run: Callable[[Config], int | None]
    writes: bool = False
    words: tuple[str, ...] = ()
    selects: Mapping[str, Callable[[], Sequence[str]]] = dataclasses.field(default_factory=dict)

    def layers(self, overrides: Mapping[str, str]) -> Layers[Config]:
        """Return the options for given arguments.

        Raises:
            ConfigError: a key of `selects` is missing, or names something unknown.
        """
        return Layers(self.config()) if isinstance(self.config, type) else self.config(overrides)


Verbs: TypeAlias = Sequence[Verb[Any]]
"""Verbs of a stage: each has its own configuration type, so there is no common one."""


def main(stage: str, about: str, verbs: Verbs, words: Sequence[str] | None = None) -> int:
    """Run one verb of a stage and return the exit code.

    0 done, 1 failed, 2 wrong arguments, 130 interrupted. Expected errors print one message without a traceback.

    Args:
        stage: its name; empty for the verbs of the program itself.
        about: what the stage does, one line.
        verbs: its commands.
        words: arguments after the name of the stage; default those of this process.
    """
    arguments = list(sys.argv[1:] if words is None else words)
    try:
        return _dispatch(stage, about, verbs, arguments)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, `head` for example, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(stage: str, about: str, verbs: Verbs, arguments: list[str]) -> int:
    flags = {word for word in arguments if word in ("--help", "-h", "--show")}
    words = [word for word in arguments if word not in flags]
    by_name = {verb.name: verb for verb in verbs}
    if not words or "=" in words[0]:
        _print_stage(stage, about, verbs)
        return 0 if flags or not words else 2
    if words[0] not in by_name:
        raise ConfigError(f"unknown command {words[0]!r} of {stage or PROGRAM}", fix=loader.closest(words[0], by_name))
    verb = by_name[words[0]]
    overrides = loader.parse_overrides(_named(words[1:], verb.words))
    plugins.keep_out_of(overrides.get("root"))
    layers = verb.layers(overrides)
    if flags & {"--help", "-h"}:
        _print_verb(stage, verb, layers)
        return 0
    config = loader.resolve(layers.start, layers.values, overrides)
    if "--show" in flags:
        print(loader.to_yaml(config), end="")
        return 0
    return _run(stage, verb, config)


def _named(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the words with keys before those that have none."""
    left = [key for key in keys if not any(word.startswith(f"{key}=") for word in words)]
    return [word if "=" in word or not left else f"{left.pop(0)}={word}" for word in words]


def _run(stage: str, verb: Verb[Config], config: Config) -> int:
    log = None
    if verb.writes:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        log = (
            Path(logs_path(as_typed(config).get("root")))
            / f"{stage or PROGRAM}-{verb.name}-{stamp}-{os.getpid()}.jsonl"
        )
    with logging_to(log):
        logger = get_logger(stage)
        logger.debug("start", extra={"fields": {"verb": verb.name, "config": loader.to_yaml(config)}})
        try:
            return verb.run(config) or 0
        except ConfigError:
            raise
        except SpatialprobeError as error:
            logger.debug("failed", exc_info=True)
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as interrupt:  # a verb can add to the default message
            logger.debug("interrupted")
            advice = str(interrupt) or f"the same `{command(stage, verb.name)}` command continues"
            print(f"interrupted; {advice}", file=sys.stderr)
            return 130
        except BrokenPipeError:
            raise
        except OSError as error:
            logger.debug("failed", exc_info=True)
            fix = DISK_FIXES.get(error.errno or 0)
            print(f"error: {error}" + (f"\n  fix:      {fix}" if fix else ""), file=sys.stderr)
            return 1
        except Exception:
            logger.debug("failed", exc_info=True)
            raise


def _print_stage(stage: str, about: str, verbs: Verbs) -> None:
    print(f"{about}\n\nusage: {PROGRAM} {stage} <command> key=value ... [--show] [--help]\n")
    width = max(len(verb.name) for verb in verbs)
    for verb in verbs:
        print(f"  {verb.name.ljust(width)}  {verb.help}")
    print(f"\n`{PROGRAM} {stage} <command> --help` lists its keys; `--show` prints the resolved configuration only.")


def _print_verb(stage: str, verb: Verb[Config], layers: Layers[Config]) -> None:
    plain = "".join(f"<{key}> " for key in verb.words)
    typed = " ".join(filter(None, (PROGRAM, stage, verb.name)))
    print(f"{verb.help}\n\nusage: {typed} {plain}key=value ... [--show] [--help]\n")
    set_by_yaml: dict[str, Any] = {}
    known = {item.key: item for item in options_of(layers.start)}
    for values in layers.values:
        set_by_yaml.update(loader.layer_values(values, known))
    print_options(known.values(), set_by_yaml)


def print_options(items: Iterable[Option], set_by_yaml: Mapping[str, Any] | None = None) -> None:
    """Print options with type, default and help; values in YAML files replace defaults."""
    from textwrap import fill

    for item in items:
        default = (set_by_yaml or {}).get(item.key, item.default)
        shown = "must be given" if isinstance(default, str) and default == "???" else f"default {_show(default)}"
        print(f"  {item.key}  ({loader.type_name(item.type)}, {shown})")
        choices = f" One of: {', '.join(item.choices)}." if item.choices else ""
        print(fill(f"{item.help}{choices}", 100, initial_indent="      ", subsequent_indent="      "))


def _show(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if value == "" else str(value)
