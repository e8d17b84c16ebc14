"""The house: which stage may import which, no loops, no hidden arrows, folders that can be taken in at a glance."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from probe.task import load_task

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "configs": set(),
    "data": {"configs"},
    "cache": {"configs"},
    "extract": {"configs", "data", "cache"},
    "fusion": {"configs", "cache", "data"},
    "probe": {"configs", "data", "cache", "fusion"},
    "spatialprobe": {"configs", "data", "cache", "extract", "fusion", "probe"},
}
STAGES = tuple(ALLOWED)
BACKBONE_LIBRARIES = {"diffusers", "transformers"}
TASKS = sorted(file.parent.name for file in (ROOT / "probe" / "tasks").glob("*/__init__.py"))
ENGLISH = ("Semantics against geometry", "more geometry", "3D geometry")
"""Phrases of the report in which the name of a task is a plain word."""
FILES_IN_A_FOLDER = 12
"""Besides `__init__` and `__main__`: what a newcomer takes in at a glance."""


class Import(NamedTuple):
    """One module of ours that a module imports."""

    target: str
    line: int
    inside: bool
    """Whether the import stands inside a function or under TYPE_CHECKING."""


def modules(stage: str) -> list[Path]:
    return sorted((ROOT / stage).rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


OURS = {dotted(path): path for stage in STAGES for path in modules(stage)}


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every module of ours that a module names in an import, wherever the import stands."""
    top = {id(node) for node in tree(path).body}
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [part if part in OURS else str(node.module) for part in parts]
        else:
            continue
        found += [Import(name, node.lineno, id(node) not in top) for name in dict.fromkeys(names) if name in OURS]
    return tuple(found)


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def run_by(name: str, target: str) -> Iterator[str]:
    """Yield what importing `target` from `name` runs: the module, and the packages above it that `name` is not in."""
    while target:
        if not f"{name}.".startswith(f"{target}.") or target == name:
            yield target
        target = target.rpartition(".")[0]


def loops(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other, each sorted (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in arrows[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(arrows):
        if name not in order:
            visit(name)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_arrows(stage: str) -> None:
    for path in modules(stage):
        wrong = imported(path) & set(STAGES) - ALLOWED[stage] - {stage}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_no_import_loops() -> None:
    """Also counting imports inside functions and under TYPE_CHECKING, and the packages that an import runs."""
    arrows: dict[str, set[str]] = {name: set() for name in OURS}
    for name, path in OURS.items():
        for found in imports(path):
            arrows[name] |= {target for target in run_by(name, found.target) if target != name}
    assert not loops(arrows)


def test_the_search_for_loops_finds_them() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"g"}, "g": {"f"}}
    assert loops(arrows) == [["a", "b", "c"], ["f", "g"]] or loops(arrows) == [["f", "g"], ["a", "b", "c"]]


@pytest.mark.parametrize("stage", STAGES)
def test_own_modules_are_imported_at_the_top(stage: str) -> None:
    """Only `__main__` imports inside functions: the verb that was asked for.

    A package's `__init__` may hand names on when they are first used, so that the package starts lightly.
    """
    hidden = [
        f"{path.relative_to(ROOT)}:{found.line} {found.target}"
        for path in modules(stage)
        if path.stem not in ("__main__", "__init__")
        for found in imports(path)
        if found.inside
    ]
    assert not hidden


@pytest.mark.parametrize("stage", STAGES)
def test_folders_can_be_taken_in_at_a_glance(stage: str) -> None:
    files: dict[Path, list[str]] = defaultdict(list)
    for path in modules(stage):
        files[path.parent] += [path.stem] * (path.stem not in ("__init__", "__main__"))
    crowded = {
        str(folder.relative_to(ROOT)): names for folder, names in files.items() if len(names) > FILES_IN_A_FOLDER
    }
    assert not crowded
    for folder in files:
        assert (folder / "__init__.py").is_file(), f"{folder.relative_to(ROOT)} has no __init__"


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_starts_another(stage: str) -> None:
    """Whoever needs another stage's work imports it, as far as the arrows allow; nothing runs commands."""
    for path in modules(stage):
        assert "subprocess" not in imported(path), path


@pytest.mark.parametrize("stage", ["configs", "data", "cache", "probe", "fusion", "spatialprobe"])
def test_backbone_libraries_stay_in_extract(stage: str) -> None:
    for path in modules(stage):
        assert not imported(path) & BACKBONE_LIBRARIES, path


def tasks_named_in(source: ast.Module) -> list[str]:
    """Return the lines that name a task, or are a metric of one, in a string that is no docstring, or import a task."""
    metrics = {key for task in TASKS for key in load_task(task).metrics}
    documentation = {id(node.value) for node in ast.walk(source) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            text = re.sub("|".join(ENGLISH), "", node.value)
            names = (set(re.findall(r"\w+", text)) & {*TASKS}) | ({text} & metrics)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("probe.tasks"):
            names = {f"{node.module}.{alias.name}".split(".")[2] for alias in node.names}
        elif isinstance(node, ast.Import):
            names = {alias.name.split(".")[2] for alias in node.names if alias.name.startswith("probe.tasks.")}
        else:
            continue
        found += [f"line {node.lineno}: {name}" for name in sorted(names)]
    return found


def test_no_module_knows_a_task_by_name() -> None:
    """Everything outside a task's folder reads what `Task` declares, so that any folder can be a task."""
    for path in modules("probe"):
        if (ROOT / "probe" / "tasks") not in path.parents:
            assert not tasks_named_in(tree(path)), path.relative_to(ROOT)


@pytest.mark.parametrize(
    "code",
    [
        'train(task="geometry")', 'f"task=tagging of {x}"', 'KEYS = ("t_miou", x)', "import probe.tasks.instance.loss",
        "from probe.tasks import tagging", "from probe.tasks.geometry.report import clip_block",
    ],
)  # fmt: skip
def test_the_search_for_names_of_tasks_finds_them(code: str) -> None:
    assert tasks_named_in(ast.parse(code))
    assert not tasks_named_in(
        ast.parse('def f():\n    """Of geometry."""\n    return "a heat map", isinstance(x, int)')
    )


@pytest.mark.parametrize("stage", STAGES)
def test_modules_are_documented(stage: str) -> None:
    for path in modules(stage):
        assert ast.get_docstring(tree(path)), f"{path.relative_to(ROOT)} has no docstring"
        assert path.stem not in ("utils", "helpers", "misc", "common")


def test_no_code_from_text() -> None:
    for stage in STAGES:
        for path in modules(stage):
            calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
            names = {f.id for f in calls if isinstance(f, ast.Name)}
            assert not names & {"eval", "exec", "compile", "__import__"}, path


@pytest.mark.parametrize("stage", STAGES)
def test_text_is_read_as_utf8(stage: str) -> None:
    """Not in whatever encoding the locale has: the files come from other machines."""
    for path in modules(stage):
        calls = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
        reads = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "read_text"]
        bare = [c.lineno for c in reads if not c.args and "encoding" not in {k.arg for k in c.keywords}]
        assert not bare, f"{path.relative_to(ROOT)} reads text of no stated encoding in lines {bare}"


@pytest.mark.parametrize("stage", [*STAGES, "configs.jobs", "configs.cli", "configs.names", "spatialprobe.command"])
def test_stages_import_lightly(stage: str) -> None:
    heavy = {"torch", "zarr", "pandas", "lightning", "transformers", "diffusers", "dask", "distributed", "omegaconf"}
    code = f"import {stage}, sys; found = {heavy!r} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
