"""Every command that the product tells a reader to type exists: its stage, its verb, its keys."""

from __future__ import annotations

import ast
import inspect
import shlex
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from configs import commands
from configs.cli import Verb
from configs.options import options_of
from spatialprobe.command import VERBS, stage_verbs

ROOT = Path(__file__).parents[2]
FOLDERS = ("spatialprobe", "configs", *commands.STAGES)
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
BUILDERS: dict[str, tuple[Callable[..., str], str]] = {
    "extract_source": (commands.extract_source, "run"),
    "add_array": (commands.add_array, "run"),
    "refill": (commands.refill, "run"),
}
"""Functions that make whole commands of `extract`, and the verb that they name by themselves."""
SPELLED_ELSEWHERE = ("configs/commands.py", "configs/cli.py", "spatialprobe/")
"""Where the text of commands is made; the rest calls `configs.commands`."""


class Call(NamedTuple):
    """A call of `configs.commands`, as it stands in the code."""

    where: str
    stage: str
    verb: str | None  # None: not a literal
    words: int
    keys: tuple[str, ...]
    open: bool  # further keys come from a mapping


def verbs_of(stage: str) -> Sequence[Verb[Any]]:
    return stage_verbs(stage) if stage else VERBS


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> function of `configs.commands`, or "" for the module itself."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "configs.commands":
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module == "configs":
            names |= {alias.asname or alias.name: "" for alias in node.names if alias.name == "commands"}
    return names


def literal(node: ast.expr) -> str | None:
    """Return the text that a literal is, None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def calls(path: Path) -> Iterator[Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = imported_names(tree)
    own = path.name == "commands.py" and path.parent.name == "configs"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if (
            isinstance(called, ast.Attribute)
            and isinstance(called.value, ast.Name)
            and names.get(called.value.id) == ""
        ):
            function = called.attr
        elif isinstance(called, ast.Name):
            function = names.get(called.id) or (called.id if own else "")
        else:
            continue
        keys = [word.arg for word in node.keywords if word.arg]
        spread = any(word.arg is None for word in node.keywords)
        texts = [literal(arg) for arg in node.args]
        where = f"{str(path).removeprefix(f'{ROOT}/')}:{node.lineno}"
        if function in BUILDERS:
            builder, usual = BUILDERS[function]
            given = next((word.value for word in node.keywords if word.arg == "verb"), None)
            chosen = usual if given is None else literal(given)
            known = set(inspect.signature(builder).parameters)
            yield Call(where, "extract", chosen, 0, tuple(key for key in keys if key not in known), spread)
        elif function in commands.STAGES:
            yield Call(where, function, texts[0] if texts else None, len(node.args) - 1, tuple(keys), spread)
        elif function == "command" and not (own and len(node.args) < 2):
            stage, verb = (*texts, None, None)[:2]
            if stage is not None:
                yield Call(where, stage, verb, len(node.args) - 2, tuple(keys), spread)


CALLS = [
    call for path in FILES for call in calls(path) if call.verb or not call.where.startswith("configs/commands.py")
]


def keys_of(verb: Verb[Any]) -> set[str]:
    """Return the keys of a verb under any of the values that decide about its keys."""
    names = list(verb.selects)
    found = set()
    for values in product(*(verb.selects[name]() for name in names)):
        layers = verb.layers(dict(zip(names, values, strict=True)))
        found |= {item.key for item in options_of(layers.start)}
    return found


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.where)
def test_what_is_named_exists(call: Call) -> None:
    known = {verb.name: verb for verb in verbs_of(call.stage)}
    if call.verb is None:
        pytest.fail(f"{call.where}: the verb must be a literal, so that it can be checked")
    assert call.verb in known, f"{call.where}: {call.stage} has no command {call.verb}"
    verb = known[call.verb]
    unknown = {key.removesuffix("_") for key in call.keys} - keys_of(verb)
    assert not unknown, f"{call.where}: {call.stage} {call.verb} has no key {', '.join(sorted(unknown))}"
    assert call.words <= len(verb.words), f"{call.where}: words without keys"


def test_a_wrong_call_would_be_noticed(tmp_path: Path) -> None:
    code = "from configs import commands\nfrom configs.commands import cache as c\n"
    code += "commands.extract('runn', model=1)\nc('repair', stroe=2)\ncommands.extract_source('a', 'b', modle=3)\n"
    path = tmp_path / "wrong.py"
    path.write_text(code)
    wrong = list(calls(path))
    assert [(call.stage, call.verb, call.keys) for call in wrong] == [
        ("extract", "runn", ("model",)),
        ("cache", "repair", ("stroe",)),
        ("extract", "run", ("modle",)),
    ]
    for call in wrong:
        with pytest.raises(AssertionError, match="has no"):
            test_what_is_named_exists(call)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that are not docstrings, with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
            and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


@pytest.mark.parametrize("folder", FOLDERS)
def test_commands_are_spelled_in_one_place(folder: str) -> None:
    """No other text says how to start something; docstrings may name their verb."""
    elsewhere = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.startswith(SPELLED_ELSEWHERE):
            continue
        for line, text in texts(path):
            words = [f"{commands.PROGRAM} {stage} " for stage in commands.STAGES]
            if "python -m " in text or any(word in f"{text} " for word in words):
                elsewhere.append(f"{name}:{line}: {text.strip()[:60]}")
    assert not elsewhere, "\n".join(elsewhere)


def test_values_are_quoted_and_ordered() -> None:
    program = commands.program()
    text = commands.extract(
        "run", root="/a b", model=["a", "b"], dataset="my rooms", weights=None, groups=[], force=True
    )
    assert text == f"{program} extract run model=a,b dataset='my rooms' force=true root='/a b'"
    assert shlex.split(text.removeprefix(program))[-1] == "root=/a b"
    assert commands.data("prepare", raw=commands.ANY) == f"{program} data prepare raw=..."
    assert commands.probe("train", model=commands.Blank("<source>"), **{"trunk.depth": 4}).endswith(
        "probe train model=<source> trunk.depth=4"
    )
    assert commands.probe("compare", "a", commands.Blank("<run b>")) == f"{program} probe compare a <run b>"
    assert commands.cache("repair") == f"{program} cache repair"
    assert commands.command("", "doctor") == f"{program} doctor"


def test_sources_become_options() -> None:
    assert commands.extract_source("qwen3-vl-2b-tiny-random", "toy").endswith(
        "extract run model=qwen3-vl-2b dataset=toy weights=random size=tiny"
    )
    assert commands.extract_source("oracle-depth-rays", "toy", verb="plan").endswith(
        "extract plan model=oracle dataset=toy groups=depth,rays"
    )
    assert commands.add_array("wan", "toy", 9, "vae", 0.25, 250.0, (4, 6)).endswith(
        "layers=9 tap=vae noise=0.25 grid=4x6"
    )
    assert commands.add_array("wan", "toy", 9, "dit", 0.25, 250.5, "4x6,8x8").endswith(
        "layers=9 noise=250.5 grid=4x6,8x8"
    )
    facts = [
        commands.ArrayFacts(21, "dit", 0.5, None, (4, 6)),
        commands.ArrayFacts(9, "dit", 0.25, 250.0, (2, 3)),
        commands.ArrayFacts(None, "position", None, None, (4, 6)),
    ]
    assert commands.refill("wan", "toy", facts).endswith("layers=9,21 noise=0.25,0.5 grid=4x6,2x3")
    assert " tap=" not in commands.refill("wan", "toy", facts)
    facts += [commands.ArrayFacts(3, "vision", None, None, (4, 6))]
    assert " tap=dit,vision " in commands.refill("wan", "toy", facts)
    assert commands.again("a", "b", "a") == "a; or b"


def test_the_program_is_spelled_so_that_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my environment"
    folder.mkdir()
    python, script = folder / "python", folder / "spatialprobe"
    python.write_text("")
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commands.program() == f"'{python}' -m spatialprobe"  # nothing is installed
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    assert commands.program() == f"'{script}'"
    assert commands.cache("ls") == f"'{script}' cache ls"
    assert commands.portable(f"try {commands.cache('ls')}, or {commands.probe('runs')}") == (
        "try spatialprobe cache ls, or spatialprobe probe runs"
    )
    other = tmp_path / "spatialprobe"  # another installation is found first
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{folder}")
    assert commands.program() == f"'{script}'"
    monkeypatch.setenv("PATH", f"{folder}:{tmp_path}")
    assert commands.program() == "spatialprobe"
