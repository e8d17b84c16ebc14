"""The command: help and version at once, stages behind one name, and nothing imported from the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.commands import STAGES
from spatialprobe import installation
from spatialprobe.command import VERBS, main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run(*words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder as a user does who has the checkout on the path, behind that folder."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT), **more}
    call = [sys.executable, *words]
    return subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_help_lists_the_stages_and_the_programs_own_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        for name in (*STAGES, *(verb.name for verb in VERBS), "--version"):
            assert f"  {name} " in text


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("spatialprobe ")


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_reached(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([stage, "--help"]) == 0
    assert f"usage: spatialprobe {stage} <command>" in capsys.readouterr().out


def test_what_is_misspelt_gets_the_closest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exract", "run"]) == 2
    assert "did you mean extract?" in capsys.readouterr().err
    assert main(["extract", "rum"]) == 2
    assert "did you mean run?" in capsys.readouterr().err
    assert main(["completion", "shell=tcsh"]) == 2
    assert "unknown shell 'tcsh'" in capsys.readouterr().err


def test_it_starts_without_heavy_libraries() -> None:
    heavy = {"torch", "zarr", "pandas", "dask", "omegaconf", "numpy"}
    code = "import sys; from spatialprobe.command import main\n"
    code += f"main(['cache', '--help']); found = {heavy!r} & set(sys.modules); assert not found, found"
    done = run("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder whose files have the names of all stages, and end every program that imports them."""
    for name in ("configs", *STAGES):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    return tmp_path


@pytest.mark.parametrize("stage", STAGES)
def test_files_of_the_working_directory_are_never_imported(stage: str, taken: Path) -> None:
    done = run("-m", "spatialprobe", stage, "--help", cwd=taken)
    assert done.returncode == 0 and f"usage: spatialprobe {stage}" in done.stdout, done.stderr
    (note,) = done.stderr.splitlines()
    assert note.startswith(f"note: {taken}/configs.py, ") and "doctor" in note


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_module_is_not_misled_either(stage: str, taken: Path) -> None:
    (taken / f"{stage}.py").unlink()  # which would be the module that is asked for
    elsewhere = taken / "empty"
    elsewhere.mkdir()
    for cwd, path in ((taken, str(ROOT)), (elsewhere, f"{taken}{os.pathsep}{ROOT}")):
        done = run("-m", stage, "--help", cwd=cwd, PYTHONPATH=path)
        assert done.returncode == 0 and f"usage: spatialprobe {stage}" in done.stdout, done.stderr


def test_the_scripts_entry_puts_the_installation_first(taken: Path) -> None:
    """As the script that pip writes: its own folder is on the path, and another distribution's packages after it."""
    code = "import sys; sys.argv = ['spatialprobe', 'probe', '--help']; sys.path[0] = '/folder/of/the/script'\n"
    code += f"sys.path.insert(1, {str(taken)!r})\nfrom spatialprobe.__main__ import start\nsys.exit(start())"
    done = run("-c", code, cwd=taken)
    assert done.returncode == 0 and "usage: spatialprobe probe" in done.stdout, done.stderr


def test_shadows_are_files_packages_and_bare_folders(tmp_path: Path) -> None:
    assert installation.shadows([str(ROOT)]) == []
    (tmp_path / "data").mkdir()
    (tmp_path / "cache.py").write_text("")
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "__init__.py").write_text("")
    found = dict(installation.shadows([str(tmp_path)]))
    assert found == {
        "data": tmp_path / "data",
        "cache": tmp_path / "cache.py",
        "probe": tmp_path / "probe" / "__init__.py",
    }
    # a folder without __init__.py gives way to a package further down the path
    assert "data" not in dict(installation.shadows([str(tmp_path), str(ROOT)]))
