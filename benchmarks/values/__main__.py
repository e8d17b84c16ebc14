"""A baseline of values: `python -m benchmarks.values write FILE` and `compare FILE [FILE]`.

write FILE          run the commands and write down the digests of all that they compute
compare FILE        run the commands again and compare with FILE; exit code 1 if a value differs
compare FILE FILE   compare two files without running anything

work=FOLDER         keep everything computed here, in a new or empty folder; default a temporary one
root=FOLDER         run nothing: read what an earlier run has left in its work= folder
demo=FOLDER         add the tables of a report that is already there, such as artifacts/ after `make demo`
ignore=NAME,...     compare: leave out names that start so, for example identities/
machine=any         compare files of unlike machines or libraries too
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.values.commands import ENVIRONMENT, REPOSITORY, CommandFailed, run_all
from benchmarks.values.comparison import compare, summary
from benchmarks.values.digests import Digests, NothingFound, everything, find_run, report_tables

LIBRARIES = (
    "torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "zarr", "pillow", "simplejpeg", "lightning",
    "torchmetrics", "roma", "transformers", "diffusers",
)  # fmt: skip
OPTIONS = ("work", "root", "demo", "ignore", "machine")


class UsageError(Exception):
    """The command line is wrong, or files can't be compared."""


def machine() -> dict[str, str]:
    """What rounding depends on: processor, kernels, threads, libraries."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    facts = {
        "processor": model,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "threads": ENVIRONMENT["OMP_NUM_THREADS"],
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def commit() -> str:
    """The commit of the code, with a mark if it was changed since; empty outside a checkout."""
    words = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def make(options: dict[str, str]) -> dict[str, Any]:
    """Run the commands and return what `write` writes."""
    if "root" in options:
        digests = everything(Path(options["root"]))
    elif "work" in options:
        work = Path(options["work"]).resolve()
        if work.exists() and any(work.iterdir()):
            raise UsageError(f"work={work} is not empty: results of another run could be taken for those of this one")
        work.mkdir(parents=True, exist_ok=True)
        digests = _run(work)
    else:
        with tempfile.TemporaryDirectory(prefix="values-") as folder:
            digests = _run(Path(folder).resolve())
    if "demo" in options:
        demo = dict(report_tables(Path(options["demo"]), "demo"))
        if not demo:
            raise UsageError(f"no tables of a report below demo={options['demo']}\n  fix: make demo")
        digests |= demo
    return {"machine": machine(), "commit": commit(), "digests": dict(sorted(digests.items()))}


def _run(work: Path) -> Digests:
    run_all(work, lambda: find_run(work, "geometry"))
    return everything(work)


def load(path: str) -> dict[str, Any]:
    """Read a file that `write` has written."""
    try:
        content = json.loads(Path(path).read_text())
        return {key: content[key] for key in ("machine", "commit", "digests")}
    except FileNotFoundError:
        raise UsageError(f"no file {path}\n  fix: python -m benchmarks.values write {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a baseline of values: {error!r}") from None


def check_machines(before: dict[str, str], after: dict[str, str]) -> None:
    """Refuse to compare files of unlike machines, whose values may differ in rounding alone."""
    unlike = [
        f"  {key}: {before.get(key)} before, {after.get(key)} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if unlike:
        raise UsageError(
            "these files come from unlike machines, and values may differ in rounding alone:\n"
            + "\n".join(unlike)
            + "\n  fix: write both on the same machine and environment, or add machine=any"
        )


def main(words: list[str]) -> int:
    """Write or compare; 0 if all values agree, 1 if not, 2 if there was nothing to compare."""
    if not words or "--help" in words:
        print(__doc__)
        return 0
    try:
        verb, files, options = _parse(words)
        if verb == "write":
            content = make(options)
            Path(files[0]).write_text(json.dumps(content, indent=1) + "\n")
            print(f"{len(content['digests'])} digests: {files[0]}")
            return 0
        before = load(files[0])
        if len(files) == 1 and options.get("machine") != "any":
            check_machines(before["machine"], machine())  # before minutes of work
        after = load(files[1]) if len(files) == 2 else make(options)
        if options.get("machine") != "any":
            check_machines(before["machine"], after["machine"])
        ignored = tuple(name for name in options.get("ignore", "").split(",") if name)
        sides = [
            {name: value for name, value in side["digests"].items() if not name.startswith(ignored)}
            for side in (before, after)
        ]
        comparison = compare(*sides)
        print(f"before: {before['commit']}\nafter:  {after['commit']}\n{summary(comparison)}")
        return 0 if comparison.agrees else 1
    except (UsageError, CommandFailed, NothingFound) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parse(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    verb, *rest = words
    files = [word for word in rest if "=" not in word]
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise UsageError(f"unknown option {unknown[0]}\n  expected: {', '.join(OPTIONS)}")
    if verb not in ("write", "compare") or not 1 <= len(files) <= (2 if verb == "compare" else 1):
        raise UsageError("expected: write FILE, compare FILE or compare FILE FILE")
    return verb, files, options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
