"""The arrows between the stages, and what may not be imported where."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("configs", "data", "cache", "extract", "probe", "fusion", "spatialprobe")
ALLOWED = {
    "configs": set(),
    "data": {"configs"},
    "cache": {"configs"},
    "extract": {"configs", "data", "cache"},
    "fusion": {"configs", "cache", "data"},
    "probe": {"configs", "data", "cache", "fusion"},
    "spatialprobe": {"configs", "data", "cache", "extract", "fusion", "probe"},
}
BACKBONE_LIBRARIES = {"diffusers", "transformers"}


def modules(stage: str) -> list[Path]:
    return sorted((ROOT / stage).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("stage", STAGES)
def test_arrows(stage: str) -> None:
    for path in modules(stage):
        wrong = imported(path) & set(STAGES) - ALLOWED[stage] - {stage}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("stage", ["configs", "data", "cache", "probe", "fusion", "spatialprobe"])
def test_backbone_libraries_stay_in_extract(stage: str) -> None:
    for path in modules(stage):
        assert not imported(path) & BACKBONE_LIBRARIES, path


@pytest.mark.parametrize("stage", STAGES)
def test_modules_are_documented(stage: str) -> None:
    for path in modules(stage):
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
        assert path.stem not in ("utils", "helpers", "misc", "common")


def test_no_code_from_text() -> None:
    for stage in STAGES:
        for path in modules(stage):
            calls = [n.func for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
            names = {f.id for f in calls if isinstance(f, ast.Name)}
            assert not names & {"eval", "exec", "compile", "__import__"}, path


@pytest.mark.parametrize("stage", STAGES)
def test_text_is_read_as_utf8(stage: str) -> None:
    """Not in whatever encoding the locale has: the files come from other machines."""
    for path in modules(stage):
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        reads = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "read_text"]
        bare = [c.lineno for c in reads if not c.args and "encoding" not in {k.arg for k in c.keywords}]
        assert not bare, f"{path.relative_to(ROOT)} reads text of no stated encoding in lines {bare}"


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_starts_another(stage: str) -> None:
    """Whoever needs another stage's work imports it, as far as the arrows allow; nothing runs commands."""
    starts = [path for path in modules(stage) if "subprocess" in imported(path)]
    assert {str(path.relative_to(ROOT)) for path in starts} <= {"fusion/controls.py"}


@pytest.mark.parametrize("stage", [*STAGES, "configs.jobs", "configs.cli", "configs.names", "spatialprobe.command"])
def test_stages_import_lightly(stage: str) -> None:
    heavy = {"torch", "zarr", "pandas", "lightning", "transformers", "diffusers", "dask", "distributed", "omegaconf"}
    code = f"import {stage}, sys; found = {heavy!r} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
