"""Commands of the documentation, run as a reader would: one after the other in a shell, with what the page exports."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def page(name: str) -> str:
    """Return a page of the documentation."""
    return (REPOSITORY / "docs" / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """Return the lines of all bash blocks of a page, or of a part of one."""
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines() if line]


def run_all(commands: Iterable[str], given: Mapping[str, str]) -> None:
    """Run commands as they stand, with the script of this environment on the path; each must succeed.

    An `export` holds for the commands after it, unless its variable is `given`.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, **given}
    for command in commands:
        if command.startswith("export "):
            name, _, value = shlex.split(command, comments=True)[1].partition("=")
            env[name] = given.get(name, value)
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
