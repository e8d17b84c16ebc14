"""Probes need no backbone library, and the command line answers without heavy imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# As if the libraries weren't installed: neither their modules nor their metadata are found.
BLOCKED = """
import importlib.machinery, importlib.metadata, sys
finder, lookup = importlib.machinery.PathFinder.find_spec, importlib.metadata.Distribution.from_name
absent = ("diffusers", "transformers")
def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in absent else finder(name, path, target)
def from_name(name):
    if name in absent:
        raise importlib.metadata.PackageNotFoundError(name)
    return lookup(name)
importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
importlib.metadata.Distribution.from_name = staticmethod(from_name)
try:
    import transformers
    raise SystemExit("the block doesn't work")
except ModuleNotFoundError:
    pass
"""


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600)


def test_store_to_results_without_backbone_libraries(artifacts: Path) -> None:
    code = BLOCKED + "import runpy; runpy.run_module('probe', run_name='__main__', alter_sys=True)"
    options = ["profile=debug", "model=speckle", f"root={artifacts}", "trunk.width=16", "recipe.batch=2", "device=cpu"]
    done = python(code, "train", "task=tagging", *options, "resamples=20", "pictures=1")
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout
    (path,) = (artifacts / "results").glob("*.json")
    assert json.loads(path.read_text())["report"]["map"]["value"] is not None

    # Once it is finished, the same command loads nothing that trains.
    light = "import runpy, sys\ntry: runpy.run_module('probe', run_name='__main__', alter_sys=True)\n"
    light += "except SystemExit as stop: assert not stop.code\nassert 'lightning' not in sys.modules\n"
    again = python(light, "train", "task=tagging", *options, "resamples=20", "pictures=1")
    assert again.returncode == 0, again.stderr
    assert "1 of 1 runs are finished already" in again.stderr and again.stdout == done.stdout


def test_help_is_light() -> None:
    code = (
        "import sys, runpy\nsys.argv = ['probe', {words}]\n"
        "try: runpy.run_module('probe', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "found = {{'torch', 'lightning', 'zarr', 'pandas', 'sklearn', 'scipy'}} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    for words in ("'--help'", "'train', '--help', 'task=instance'", "'evaluate', '--help'", "'runs', '--help'"):
        done = python(code.format(words=words))
        assert done.returncode == 0, done.stderr
    assert "recipe.lr" in python(code.format(words="'train', 'task=geometry', '--help'")).stdout


def test_wrong_names_help(artifacts: Path) -> None:
    for words, hint in (
        (["train", "task=instanse"], "did you mean instance"),
        (["train"], "task must be given"),
        (["train", "task=tagging", "profile=cpux"], "did you mean cpu"),
        (["train", "task=tagging", "trunk.dept=1"], "trunk.depth"),
    ):
        done = python("import runpy; runpy.run_module('probe', run_name='__main__', alter_sys=True)", *words)
        assert done.returncode == 2 and hint in done.stderr, done.stderr
