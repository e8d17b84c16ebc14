"""`tests/portability.sh` runs what it says, and reports a failure as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "portability.sh"


def run(*words: str, scratch: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "TEST_JOBS": "0", "TMPDIR": str(scratch)}
    return subprocess.run([str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False)


def test_cases_are_chosen_by_name(tmp_path: Path) -> None:
    names = run("--list", scratch=tmp_path).stdout.split()
    assert {"threads-4", "timezone", "path", "order-random"} <= set(names)
    wrong = run("time-zone", scratch=tmp_path)
    assert wrong.returncode == 2 and "no case time-zone" in wrong.stderr and "timezone" in wrong.stderr


def test_a_case_that_fails_fails_the_whole(tmp_path: Path) -> None:
    file, scratch = tmp_path / "test_zone.py", tmp_path / "scratch"
    scratch.mkdir()
    file.write_text("import time\ndef test_it() -> None: assert time.timezone == -14 * 3600\n", encoding="utf-8")
    done = run("timezone", "--", str(file), scratch=scratch)
    assert done.returncode == 0 and "timezone: passed" in done.stdout, done.stdout
    assert not list(scratch.iterdir())  # nothing is left
    done = run("timezone", "umask", "--", str(file), scratch=scratch)
    assert done.returncode == 1
    summary = done.stdout.split("summary")[1]
    assert "timezone: passed" in summary and "umask: FAILED" in summary
    log = Path(summary.rsplit("log: ", 1)[1].strip())
    assert "test_zone.py" in log.read_text(encoding="utf-8")
