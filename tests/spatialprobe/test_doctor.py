"""`spatialprobe doctor`: what is there, what is wrong, and the exit code that says so."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from configs import plugins
from spatialprobe import doctor, installation
from spatialprobe.command import main


def findings(root: Path | None = None) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in doctor.findings(str(root) if root else None)}


def about(subject: str, root: Path | None = None) -> list[doctor.Finding]:
    return [finding for finding in doctor.findings(str(root) if root else None) if finding.subject == subject]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    monkeypatch.setattr(installation, "path_before", [str(installation.ROOT)])


def test_a_sound_installation(tmp_path: Path) -> None:
    found = findings(tmp_path / "artifacts")
    assert not [finding for finding in found.values() if finding.wrong]
    assert str(installation.ROOT) in found["program"].text
    assert "built for" in found["torch"].text and "cpu" in found["torch"].text.lower()
    assert "to be made" in found["root"].text and not (tmp_path / "artifacts").exists()


def test_weights_come_from_the_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "model=wan-t2v-1.3b", f"root={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert "weights\n" in text and "wan-t2v-1.3b" in text and f"free at {tmp_path}" in text


def test_a_root_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = findings(tmp_path / "artifacts")["root"]
    assert finding.wrong and "Permission denied" in finding.text and "root=" in str(finding.fix)


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=2", "no-such-package>=1", "zarr>=999", "jinja2>=3; extra == 'report'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    assert not about("packages")
    found = [finding.text for finding in about("package")]
    assert found[0] == "no-such-package is missing, >=1 is needed"
    assert found[1].startswith("zarr is ") and found[1].endswith(">=999 is needed") and len(found) == 2
    assert doctor.optional_packages("report") == ["jinja2"]


def test_names_that_others_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache.py").write_text("")
    (finding,) = about("names")
    assert finding.wrong and str(tmp_path / "cache.py") in finding.text
    (tmp_path / "cache.py").unlink()
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"data": ["spatialprobe", "other"]})
    first, second = about("names")
    assert first.wrong and "data belongs to other as well" in first.text and "pip uninstall other" in str(first.fix)
    assert not second.wrong


def test_plugins_are_listed_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good" / "configs").mkdir(parents=True)
    monkeypatch.setenv(plugins.VARIABLE, f"{tmp_path}/good{os.pathsep}{tmp_path}/gone")
    good, gone = about("plug-in", tmp_path / "artifacts")
    assert str(tmp_path / "good") in good.text and not good.wrong
    assert "no such folder" in gone.text and gone.wrong


def test_what_is_wrong_sets_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.py").write_text("")
    assert main(["doctor", "model=wan-t2v-1.3b", f"root={tmp_path}/artifacts"]) == 1
    text = capsys.readouterr().out
    assert f"{tmp_path}/data.py hides data" in text and "fix: start notebooks" in text
