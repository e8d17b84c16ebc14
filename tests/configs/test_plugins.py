"""Plug-ins: found by variable and entry point, never in folders of data, broken ones named, names only once."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from configs import names, plugins
from configs.errors import ConfigError
from configs.loader import known_names, load_named


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "configs" / "model").mkdir(parents=True)
    (folder / "configs" / "model" / "my-model.yaml").write_text("kind: vgm\nblocks: 3\n")
    return folder


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPATIALPROBE_HOME", str(tmp_path / "artifacts"))
    monkeypatch.delenv(plugins.VARIABLE, raising=False)


def use(monkeypatch: pytest.MonkeyPatch, *folders: Path | str) -> None:
    monkeypatch.setenv(plugins.VARIABLE, os.pathsep.join(map(str, folders)))


def test_models_of_a_plugin_are_known_beside_ours(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = known_names("model")
    use(monkeypatch, plugin)
    assert sorted([*before, "my-model"]) == known_names("model")
    assert load_named("model", "my-model") == {"kind": "vgm", "blocks": 3}
    assert "my-model" in names.model_names()
    assert names.model_kind("my-model-tiny-random") == "vgm"


def test_a_plugin_named_twice_counts_once(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plugin.parent / "link").symlink_to(plugin)
    use(monkeypatch, plugin, f"{plugin}/", plugin.parent / "link", "")
    assert [found.folder for found in plugins.plugin_folders()] == [plugin]
    assert "my-model" in known_names("model")


def test_a_name_in_two_places_is_refused_with_both(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plugin / "configs" / "model" / "wan.yaml").write_text("kind: vgm\n")
    use(monkeypatch, plugin)
    with pytest.raises(ConfigError, match=r"two files are called wan\.yaml") as error:
        known_names("model")
    assert str(plugin / "configs" / "model" / "wan.yaml") in str(error.value.found)
    assert str(Path(names.__file__).parent / "model" / "wan.yaml") in str(error.value.found)


def test_unusable_folders_are_named_once_and_skipped(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    use(monkeypatch, tmp_path / "gone", tmp_path / "file", tmp_path / "empty", plugin)
    with caplog.at_level(logging.WARNING, logger="spatialprobe"):
        assert [found.folder for found in plugins.plugin_folders()] == [plugin]
        assert [found.folder for found in plugins.plugin_folders()] == [plugin]
    (record,) = caplog.records
    for words in (f"{tmp_path}/gone: no such folder", f"{tmp_path}/file: not a folder", f"{tmp_path}/empty: has none"):
        assert words in record.getMessage()


@pytest.mark.parametrize("mark", plugins.DATA_MARKS)
def test_no_code_is_taken_from_data(plugin: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (plugin.parent / mark).write_text("{}")
    use(monkeypatch, plugin)
    assert plugins.plugin_folders() == ()
    assert mark in plugins.find_plugins().problems[0]


def test_no_code_is_taken_from_an_artifact_root(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, plugin)
    monkeypatch.setenv("SPATIALPROBE_HOME", str(tmp_path))
    assert plugins.plugin_folders() == ()
    monkeypatch.setenv("SPATIALPROBE_HOME", str(tmp_path / "artifacts"))
    assert len(plugins.plugin_folders()) == 1
    (tmp_path / "link").symlink_to(tmp_path)
    plugins.keep_out_of(tmp_path / "link")  # what a command names with root=
    assert plugins.plugin_folders() == ()


def test_entry_points_name_packages_which_are_not_imported(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plugin / "__init__.py").write_text("raise RuntimeError('imported')")
    points = [
        EntryPoint(name, value, plugins.GROUP) for name, value in (("a", "mine"), ("b", "absent"), ("c", "os:path"))
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == plugins.GROUP else [])
    monkeypatch.syspath_prepend(str(tmp_path))
    found = plugins.find_plugins()
    assert [each.folder for each in found.plugins] == [plugin]
    assert "mine" not in sys.modules
    assert found.problems == (
        "entry point b = absent: no such top-level package",
        "entry point c = os:path: no such top-level package",
    )


def test_a_model_that_cannot_be_read_does_not_hide_the_others(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = plugin / "configs" / "model" / "broken.yaml"
    broken.write_text("- a\n- b\n")
    use(monkeypatch, plugin)
    assert "my-model" in names.model_names() and "broken" not in names.model_names()
    assert [str(broken) in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(ConfigError, match="key: value"):
        names.model_values("broken")


def test_modules_of_a_plugin_are_imported_behind_ours(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = plugin / "probe" / "tasks" / "counting"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("ANSWER = 42")
    (plugin / "probe" / "tasks" / "tagging").mkdir()
    (plugin / "probe" / "tasks" / "tagging" / "__init__.py").write_text("raise RuntimeError('theirs')")
    use(monkeypatch, plugin)
    package = importlib.import_module("probe.tasks")
    monkeypatch.setattr(package, "__path__", list(package.__path__))
    folders = plugins.open_package("probe.tasks")
    assert folders == plugins.open_package("probe.tasks")  # added once
    assert folders[-1] == plugin / "probe" / "tasks"
    try:
        assert importlib.import_module("probe.tasks.counting").ANSWER == 42
        assert importlib.import_module("probe.tasks.tagging").__file__ != str(folder.parent / "tagging" / "__init__.py")
    finally:
        sys.modules.pop("probe.tasks.counting", None)
