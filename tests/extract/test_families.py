"""Families of models in plug-ins: found by name, never instead of ours, broken ones named without breaking the rest."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import names, plugins
from configs.errors import ConfigError, ModelError
from extract.adapter import Variant
from extract.families import build_adapter, usable_models
from extract.model import load_model
from tests.extract.verbs import call

GREY = '''"""Grey values."""

from extract.controls.maps import MapSource, average


def build(model, variant):
    """Make the source."""
    return MapSource(model, variant, 1, lambda clip, grid: average(clip.frames.mean(-1, keepdims=True), grid), {})
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty plug-in; nothing of it is left when the test is over."""
    folder = tmp_path / "mine"
    (folder / "configs" / "model").mkdir(parents=True)
    monkeypatch.setenv("SPATIALPROBE_HOME", str(tmp_path / "artifacts"))
    monkeypatch.setenv(plugins.VARIABLE, str(folder))
    for package in ("extract", "extract.video", "extract.controls"):
        module = importlib.import_module(package)
        monkeypatch.setattr(module, "__path__", list(module.__path__))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None) or sys.modules[name].__path__):
            del sys.modules[name]


def write(plugin: Path, name: str, family: str, place: str, code: str) -> None:
    file = plugin / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)
    (plugin / "configs" / "model" / f"{name}.yaml").write_text(f"family: {family}\nkind: control\ndtype: float32\n")


@pytest.mark.parametrize("group", ["video", "encoders"])
def test_a_family_of_a_plugin_is_built_like_ours(plugin: Path, group: str) -> None:
    write(plugin, "grey", "grey", f"extract/{group}/grey/adapter.py", GREY)
    assert build_adapter(load_model("grey"), Variant()).spec.taps["grey"].grid == (16, 16)
    models, problems = usable_models()
    assert "grey" in [model.name for model in models] and problems == []


def test_a_control_is_one_file(plugin: Path) -> None:
    write(plugin, "grey", "grey", "extract/controls/grey.py", GREY)
    assert build_adapter(load_model("grey"), Variant(extra={"grid": (2, 3)})).spec.taps["grey"].grid == (2, 3)


def test_another_size_of_ours_is_a_yaml_only(plugin: Path) -> None:
    values = (Path(names.__file__).parent / "model" / "pixels.yaml").read_text(encoding="utf-8")
    (plugin / "configs" / "model" / "dots.yaml").write_text(values)
    assert build_adapter(load_model("dots"), Variant()).spec.name == "dots"


def test_a_family_in_two_places_is_refused_with_both(plugin: Path) -> None:
    write(plugin, "mine", "wan", "extract/video/wan/adapter.py", "raise RuntimeError('theirs')")
    for name in ("mine", "wan-t2v-1.3b"):
        with pytest.raises(ConfigError, match="two families are called wan") as error:
            build_adapter(load_model(name), Variant(weights="random", size="tiny"))
        assert str(plugin / "extract/video/wan/adapter.py") in str(error.value.found)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("x = (", "SyntaxError"),
        ("def make(): ...", "has no attribute 'build'"),
    ],
)
def test_a_broken_family_is_named_and_breaks_nothing_else(
    plugin: Path, code: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "extract/encoders/broken/adapter.py"
    write(plugin, "broken", "broken", place, code)
    (plugin / "configs" / "model" / "typo.yaml").write_text("family: pixels\nkindd: control\n")
    with pytest.raises(ModelError, match="the family broken can't be used") as error:
        build_adapter(load_model("broken"), Variant())
    assert str(plugin / place) in str(error.value) and found in str(error.value)
    assert call("models") == 0
    out = capsys.readouterr().out
    assert "wan-t2v-1.3b" in out and "broken can't be used" in out and "typo can't be used" in out


def test_an_unknown_family_is_named_with_the_closest(plugin: Path) -> None:
    (plugin / "configs" / "model" / "mine.yaml").write_text("family: vann\n")
    with pytest.raises(ConfigError, match=r"unknown family 'vann' of model mine\n(?s:.*)did you mean wan"):
        build_adapter(load_model("mine"), Variant())


def test_the_variable_reaches_other_processes(plugin: Path) -> None:
    import subprocess

    write(plugin, "grey", "grey", "extract/encoders/grey/adapter.py", GREY)
    code = (
        "from extract.families import build_adapter; from extract.adapter import Variant\n"
        "from extract.model import load_model; print(build_adapter(load_model('grey'), Variant()).spec.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(names.__file__).parents[1],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "grey\n", done.stderr
