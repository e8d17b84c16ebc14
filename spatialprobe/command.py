"""Which stage or command of the program's own is meant by the first word, and the help that lists them.

The module of a stage is imported when the stage is named, so that help, completion and errors are fast.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence

from configs import cli
from configs.commands import PROGRAM, STAGES, command
from configs.loader import closest
from configs.machine import package_version
from configs.options import option
from spatialprobe import installation
from spatialprobe.completion import CompletionConfig, candidates, print_completion
from spatialprobe.doctor import doctor

ABOUT = "What does a frozen vision backbone know about space? Features cached once, probes trained in minutes."


@dataclasses.dataclass(frozen=True)
class DoctorConfig(cli.RootConfig):
    """Options of `doctor`."""

    model: list[str] = option(help="models whose weights to look for; default all", factory=list)


def _doctor(config: DoctorConfig) -> int:

    return doctor(config.root, config.model)


VERBS = (
    cli.Verb("doctor", "Check the installation, the machine and what is at the artifact root.", DoctorConfig, _doctor),
    cli.Verb(
        "completion", "Print a script that completes commands in a shell.", CompletionConfig, print_completion,
        words=("shell",),
    ),
)  # fmt: skip


ACROSS = {"cache": "spatialprobe.similarity.__main__"}
"""Stage -> module with those of its commands that need several stages; imported when the stage is named."""


def stage_verbs(stage: str) -> cli.Verbs:
    """Return the commands of a stage, in the order of its help."""
    modules = [f"{stage}.__main__", *([ACROSS[stage]] if stage in ACROSS else [])]
    return tuple(verb for module in modules for verb in importlib.import_module(module).VERBS)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

    Args:
        words: arguments; default those of this process.
    """
    arguments = list(sys.argv[1:] if words is None else words)
    first = arguments[0] if arguments else ""
    if first == "complete":
        print("\n".join(candidates(arguments[1:], VERBS, stage_verbs)))
        return 0
    hiding = dict.fromkeys(str(shadow.place) for shadow in installation.shadows(installation.path_before))
    if hiding and first != "doctor":
        text = f"note: {', '.join(hiding)} would be imported by other programs in place of parts of {PROGRAM}"
        print(f"{text}; see `{command('', 'doctor')}`", file=sys.stderr)
    if first in STAGES:
        return cli.main(first, STAGES[first], stage_verbs(first), arguments[1:])
    if first in [verb.name for verb in VERBS]:
        return cli.main("", ABOUT, VERBS, arguments)
    if first == "--version":
        print(f"{PROGRAM} {package_version(PROGRAM) or '(not installed)'}")
        return 0
    if first in ("", "--help", "-h"):
        _print_help()
        return 0
    print(f"error: unknown stage or command {first!r}", file=sys.stderr)
    print(f"  fix:      {closest(first, [*STAGES, *(verb.name for verb in VERBS)])}", file=sys.stderr)
    return 2


def _print_help() -> None:
    print(f"{ABOUT}\n\nusage: {PROGRAM} <stage> <command> key=value ... [--show] [--help]\n")
    lines = {**STAGES, "": "", **{verb.name: verb.help for verb in VERBS}, "--version": "Print the version."}
    width = max(map(len, lines))
    for name, text in lines.items():
        print(f"  {name.ljust(width)}  {text}".rstrip())
    print(f"\n`{PROGRAM} <stage> --help` lists the commands of a stage.")
