"""The commands of spatialprobe as text: what errors, notes and reports tell the reader to type.

This is the only place outside the command line itself that spells commands. It knows no stage: each call names the
stage and the verb, and a test compares every call of the project with the verbs and keys that there are.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from configs.loader import known_folders, known_names
from configs.names import read_source

PROGRAM = "spatialprobe"
"""Name of the command on the path, of its package and of the project."""

STAGES = {
    "data": "Prepared datasets: make, inspect and check them.",
    "extract": "Features of frozen backbones: computed once, kept in a store.",
    "cache": "Feature stores: list, check, repair and copy them.",
    "fusion": "Features of several models read as one.",
    "probe": "Probes: train them on cached features, score and inspect them.",
}
"""The parts of the command line, in the order in which they are used, and what they do."""

_FIRST_TAPS = {"dit", "llm"}
"""Taps at which models are read by default."""
_OTHER_TAPS = {"vae", "vision"}


class Blank(str):
    """A value that the reader fills in, such as `<source>`; shown as it is, without quotes."""


ANY = Blank("...")
"""Any value: `spatialprobe data prepare raw=...`."""


class ArrayFacts(NamedTuple):
    """What a command that makes an array has to name; as in `cache.format.spec.ArraySpec`.

    Attributes:
        block: block of the network, None for sources without.
        tap: where in the model it is read.
        noise_level: coefficient of the noise, None without noise.
        timestep: number that the network was given with that noise, None if unknown.
        grid: rows and columns.
    """

    block: int | None
    tap: str
    noise_level: float | None
    timestep: float | None
    grid: tuple[int, int]


def program() -> str:
    """Return how this installation is started from a shell.

    `spatialprobe` where that finds the script of this environment, else the script with its folder, or the interpreter
    with `-m` where no script is installed.
    """
    return _program(sys.executable, os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=4)
def _program(executable: str, path: str) -> str:
    script = Path(executable or "python3").with_name(PROGRAM)
    if not script.is_file():
        return f"{shlex.quote(executable or 'python3')} -m {PROGRAM}"
    found = shutil.which(PROGRAM, path=path)
    return PROGRAM if found and Path(found).samefile(script) else shlex.quote(str(script))


def portable(text: str) -> str:
    """Return a text with its commands as they are written on every machine: for pages and files that travel."""
    return text.replace(f"{program()} ", f"{PROGRAM} ")


def command(stage: str, verb: str, /, *words: str, **options: Any) -> str:
    """Return a command line such as `spatialprobe extract run model=wan dataset='my rooms'`.

    Args:
        stage, verb: what to run; without options the text names the verb. The program's own commands have no stage.
        words: words without `=`, in this order.
        options: key -> value. None, "" and empty lists are left out; lists are joined by commas; `root` comes last.
            A key that is a Python keyword takes a trailing underscore; a dotted one is passed as `**{"a.b": 1}`.
    """
    root = options.pop("root", None)
    given = {key.removesuffix("_"): _written(value) for key, value in {**options, "root": root}.items()}
    pairs = [f"{key}={_quoted(value)}" for key, value in given.items() if value]
    return " ".join([program(), *filter(None, [stage]), verb, *map(_quoted, words), *pairs])


def _written(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Iterable):
        texts = [_written(item) for item in value]
        return Blank(",".join(texts)) if any(isinstance(text, Blank) for text in texts) else ",".join(texts)
    return str(value)


def _quoted(value: str) -> str:
    return value if isinstance(value, Blank) else shlex.quote(value)


data = functools.partial(command, "data")
extract = functools.partial(command, "extract")
cache = functools.partial(command, "cache")
fusion = functools.partial(command, "fusion")
probe = functools.partial(command, "probe")


def prepare_dataset(name: str, **options: Any) -> str:
    """Return the fix for a missing prepared dataset of this name: the command that makes it.

    Args:
        name: of the dataset; `rooms-nano` is what preset `nano` of kind `rooms` is called.
        options: further ones.
    """
    kinds = known_folders("dataset")
    kind, _, preset = name.partition("-")
    if kind not in kinds or (preset and preset not in known_names(f"dataset/{kind}")):
        made = data("prepare", kind=Blank("|".join(kinds)), raw=ANY, dataset=name, **options)
        return f"correct dataset=, or make it: {made}"
    raw = None if kind == "rooms" else Blank("<folder of the recordings>")
    return data("prepare", kind=kind, preset=preset, raw=raw, **options)


def extract_source(source: str, dataset: str | None, *, verb: str = "run", **options: Any) -> str:
    """Return the command that makes a source, from the name of its store such as `wan-t2v-14b-tiny-random`.

    Args:
        source: name of the source.
        dataset: name of the prepared dataset.
        verb: of the extraction.
        options: further ones.
    """
    name = read_source(source)
    twin = {"weights": "random" if name.untrained else None, "size": "tiny" if name.tiny else None}
    return extract(verb, model=name.model, dataset=dataset, **twin, groups=name.groups, **options)


def add_array(
    source: str,
    dataset: str | None,
    block: int | None = None,
    tap: str = "",
    noise_level: float | None = None,
    timestep: float | None = None,
    grid: str | tuple[int, int] | None = None,
    **options: Any,
) -> str:
    """Return the command that adds one array to the features of a source.

    Args:
        source, dataset: which store.
        block, tap, noise_level, timestep: see `ArrayFacts`; what is None or "" is left to the defaults.
        grid: rows and columns, or several grids as `grid=` takes them.
        options: further ones.
    """
    return extract_source(
        source,
        dataset,
        layers=block,
        tap=tap if tap in _OTHER_TAPS else None,
        noise=None if noise_level is None else noise_word(noise_level, timestep),
        grid=grid if isinstance(grid, str) or grid is None else f"{grid[0]}x{grid[1]}",
        **options,
    )


def refill(source: str, dataset: str, arrays: Iterable[ArrayFacts], **options: Any) -> str:
    """Return the command that makes the arrays of a source for clips that lack them; it leaves finished ones alone.

    Args:
        source, dataset: which store.
        arrays: all arrays of it.
        options: further ones.
    """
    facts = list(arrays)
    taps = {fact.tap for fact in facts}
    noisy = {(fact.noise_level, fact.timestep) for fact in facts if fact.noise_level is not None}
    return extract_source(
        source,
        dataset,
        tap=[tap for tap in ("dit", "vae", "llm", "vision") if tap in taps] if taps & _OTHER_TAPS else None,
        layers=sorted({fact.block for fact in facts if fact.block is not None}),
        noise=[noise_word(*level) for level in sorted(noisy, key=lambda level: (level[0], level[1] or 0.0))],
        grid=list(dict.fromkeys(f"{fact.grid[0]}x{fact.grid[1]}" for fact in facts)),
        **options,
    )


def noise_word(level: float, timestep: float | None) -> str:
    """Return what `noise=` of `extract` has to say to mean a stored level; a rounded one would be another level.

    Args:
        level: noise coefficient of the array.
        timestep: number that the network was given, None if unknown. Only Open-Sora's continuous schedule has broken
            ones, and takes that number: its coefficient leaves a sliver of the latent out.
    """
    return repr(float(level if timestep is None or float(timestep).is_integer() else timestep))


def repair(store: str | os.PathLike[str]) -> str:
    """Return the command that takes broken clips out of a store, given its folder."""
    return cache("repair", store=os.fspath(store))


def again(*commands: str) -> str:
    """Return alternative commands as `a; or b`, without duplicates."""
    return "; or ".join(dict.fromkeys(commands))
