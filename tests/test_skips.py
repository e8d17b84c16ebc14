"""A skip without a good reason fails a strict run and is named; others pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import ALLOWED, NO_BROWSER

REPOSITORY = Path(__file__).parents[1]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", *options, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def write(folder: Path, *reasons: str) -> None:
    tests = (f"@pytest.mark.skip(reason={r!r})\ndef test_{i}() -> None: ...\n" for i, r in enumerate(reasons))
    (folder / "test_it.py").write_text("import pytest\ndef test_that_runs() -> None: ...\n" + "".join(tests))


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_skip_without_a_good_reason_fails_and_is_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    write(tmp_path, *ALLOWED, "no idea")
    (tmp_path / "test_whole_file.py").write_text("import pytest\npytest.importorskip('no_such_library')\n")
    assert run(tmp_path, *options).returncode == 0
    strict = run(tmp_path, *options, "--strict-skips")
    assert strict.returncode == 1
    named = strict.stdout.split("skips without a good reason")[1].splitlines()
    assert [line.split(":")[0] for line in named if "test_" in line] == ["test_it.py", "test_whole_file.py"]
    assert "no idea" in "".join(named) and "no_such_library" in "".join(named)


def test_good_reasons_and_failed_installations_pass(tmp_path: Path) -> None:
    write(tmp_path, *ALLOWED)
    assert run(tmp_path, "--strict-skips").returncode == 0
    write(tmp_path, *ALLOWED, NO_BROWSER)
    assert run(tmp_path, "--strict-skips").returncode == 1
    assert run(tmp_path, "--strict-skips", "--could-not-install=browser").returncode == 0


def test_failures_stay_failures(tmp_path: Path) -> None:
    write(tmp_path, "no idea")
    (tmp_path / "test_wrong.py").write_text("import no_such_library\n")
    assert run(tmp_path, "--strict-skips").returncode == pytest.ExitCode.INTERRUPTED
