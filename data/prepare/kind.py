"""What a kind of dataset consists of: options, source of clips, and what follows once all clips are there.

Each kind lives in a folder of its own, `data/<kind>/`, whose module `kind.py` exports `KIND: Kind`;
`data.prepare.sources` lists the kinds. Modules named `kind.py` import nothing heavy, since `--help` loads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from configs.cli import Layers
from configs.loader import load_named
from data.dataset.clip import ClipSource

Schema = TypeVar("Schema")


def _nothing(dataset: Path) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Kind:
    """How to make one kind of dataset.

    Attributes:
        layers: from the raw `key=value` arguments to the options dataclass (a `PrepareConfig` with a key `name`) and
            the YAML values below them.
        source: from the filled options to the source of clips. Raise here what is wrong with the raw data as a whole.
        finish: called with the dataset's folder once all clips and tables are there; must be repeatable.
        show: prints what `finish` found out, for `python -m data inspect`.
    """

    layers: Callable[[Mapping[str, str]], Layers]
    source: Callable[[Any], ClipSource]
    finish: Callable[[Path], None] = _nothing
    show: Callable[[Path], None] = _nothing


def preset_layers(schema: type, group: str, default: str, overrides: Mapping[str, str]) -> Layers:
    """Return a schema above the values of `configs/dataset/<group>/<preset>.yaml`, where `preset=` chooses the file."""
    return Layers(schema, [load_named(f"dataset/{group}", overrides.get("preset", default), kind="preset")])


def only(schema: type[Schema], config: Any) -> Schema:
    """Take from the options of `prepare` those of a smaller dataclass, by field name."""
    return schema(**{field.name: getattr(config, field.name) for field in dataclasses.fields(schema)})  # type: ignore[arg-type]
