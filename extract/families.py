"""Where the code of a model is found: a folder per family, here or in a plug-in, looked up by its name.

A family is `extract/<group>/<family>/adapter.py` (groups are `video`, `vlm`, and what plug-ins add, such as
`encoders`), a control is `extract/controls/<family>.py`; both have `build(model, variant) -> Adapter`. A plug-in has
the same folders as the project, see `configs.plugins`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from configs.errors import ConfigError, ModelError
from configs.loader import closest
from configs.names import model_names
from configs.plugins import open_package
from extract.adapter import Adapter, Build, Variant
from extract.model import ModelConfig, load_model

OURS = Path(__file__).parent


def build_adapter(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the adapter of one model in one variant; loads no weights.

    Raises:
        ConfigError: the family doesn't exist, or two have that name.
        ModelError: the module of the family can't be imported, or has no `build`.
    """
    return _build_function(_find(model))(model, variant)


def usable_models() -> tuple[list[ModelConfig], list[str]]:
    """Return all usable models, and for each of the others a line that says why it isn't."""
    models, problems = [], []
    for name in model_names():
        try:
            model = load_model(name)
            file = _find(model)
            if not file.is_relative_to(OURS):  # what is ours works; importing it would take time
                _build_function(file)
            models.append(model)
        except (ConfigError, ModelError) as error:
            problems.append(f"{name} can't be used: {error}")
    return models, problems


def _find(model: ModelConfig) -> Path:
    """Return the file of a model's family, without importing it."""
    files = _files()
    found = files.get(model.family, [])
    if not found:
        raise ConfigError(f"unknown family {model.family!r} of model {model.name}", fix=closest(model.family, files))
    if len(found) > 1:
        raise ConfigError(
            f"two families are called {model.family}",
            expected="unique names across the project and all plug-ins",
            found=" and ".join(map(str, found)),
            fix="rename the one in the plug-in",
        )
    return found[0]


def _files() -> dict[str, list[Path]]:
    """Family -> its file, or several; ours first."""
    found: dict[str, list[Path]] = {}
    for folder in open_package("extract"):
        for file in sorted(folder.glob("*/*/adapter.py")):
            found.setdefault(file.parent.name, []).append(file)
        for file in sorted((folder / "controls").glob("[!_]*.py")):
            found.setdefault(file.stem, []).append(file)
    return found


def _build_function(file: Path) -> Build:
    control = file.parent.name == "controls"
    group, *rest = ("controls", file.stem) if control else (file.parents[1].name, file.parent.name, "adapter")
    try:
        open_package(f"extract.{group}")
        build: Build = import_module(".".join(("extract", group, *rest))).build
    except Exception as error:
        raise ModelError(
            f"the family {file.stem if control else file.parent.name} can't be used",
            where=file,
            expected="a module with build(model, variant)",
            found=f"{type(error).__name__}: {error}",
        ) from error
    return build
