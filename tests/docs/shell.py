"""Which documented shell commands a test runs, on what stand-ins, and why the others are not run.

A command runs as it is written, but for what `STAND_INS` and `scaled` replace: models that need weights by sources that
need none, datasets by the nano rooms, run ids by those of runs that are there, and probes by those of profile `debug`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import REPOSITORY, Block, environment_of_make

STAGES = ("data", "extract", "cache", "fusion", "probe")

NETWORK = "fetches weights from the network"
RECORDINGS = "reads recordings that are not part of the project"
MINUTES = "takes many minutes; tests of its own cover it"
TESTS = "runs the tests, of which this is one"
INSTALLS = "installs packages; every other target does it first"
CHECKPOINT = "reads a published checkpoint"
CLUSTER = "needs a running cluster"

NOT_RUN = {
    r"README: make demo": MINUTES,  # tests/test_demo.py
    r"README: make (test|check|test-full)": TESTS,
    r"README: make setup": INSTALLS,
    r"README: make data DATASET=scannet": RECORDINGS,
    r".*: spatialprobe extract download": NETWORK,
    r"benchmarks: make (bench-|baseline)": MINUTES,
    r"sweep: make bench-scout": MINUTES,
    r"import-dl3dv: .*/data/DL3DV": RECORDINGS,
    r"import-scannet: spatialprobe data prepare kind=scannet raw=/data/scannet": RECORDINGS,
    r"README: .*livingroom": RECORDINGS,  # tests/docs/test_readme.py where there are recordings
    r"README: .*cluster=tcp": CLUSTER,  # tests/configs/test_jobs.py starts one for what both use
    r"import-scannet: .*livingroom": RECORDINGS,  # tests/docs/test_import_scannet.py runs these on a real room
    r"import-scannet: .*/tmp/scannet-rooms": MINUTES,  # the rooms at full size
    r"use-your-own-clips: .*(kitchen|flats)": RECORDINGS,  # tests/docs/test_use_your_own_clips.py films its own
    r"published-vs-reproduced: make data DATASET=scannet": RECORDINGS,
    r"published-vs-reproduced: .*profile=paper": MINUTES,
    r"probe: spatialprobe probe import": CHECKPOINT,
    r"rooms: make data": MINUTES,  # 40 rooms
    r"rooms: spatialprobe data prepare kind=rooms preset=tunnel": MINUTES,
    r"sweep: .*cluster=tcp": CLUSTER,
}
"""Commands, as `page: command`, that no test of the documentation runs, and the reason. Each must still be there."""

QUICK = {
    ("data", "inspect"), ("extract", "models"), ("extract", "doctor"), ("extract", "plan"),
    ("cache", "ls"), ("cache", "similarity"), ("probe", "runs"), ("probe", "compare"), ("probe", "evaluate"),
    ("probe", "train"),
}  # fmt: skip
"""Verbs that take a second or two; the others run with the long tests."""

STAND_INS = (
    (r"\b(wan-t2v-14b|wan-t2v-1\.3b|cogvideox-t2v-5b|qwen3-vl-2b-tiny-random)\b", "pixels"),
    (r"\bqwen3-vl-8b\b", "position"),
    (r"^dataset=(rooms|rooms-query|query|scannet)$", "dataset=rooms-nano"),
    (r"^weights=random$|^size=tiny$", ""),
    (r"^(prompt|preface)=.*$", ""),  # controls read no text
    (r"\$SLURM_ARRAY_TASK_ID", "1"),
)
STAND_INS_OF_PLANS = STAND_INS[2:3]
"""A plan is made for the model itself, whose weights are not there."""


def reason(page: str, line: str) -> str | None:
    """Return why a command is not run, None for those that are."""
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, f"{page}: {line}")), None)


def scaled(words: list[str], place: Path, runs: list[str]) -> list[str]:
    """Return stage, verb and words of a command as it is run.

    Args:
        words: as documented.
        place: stands for `/tmp`.
        runs: ids of finished runs of one task on two sources, for the ids that the pages make up.
    """
    stage, verb, *options = words
    if (stage, verb) != ("data", "prepare"):
        for pattern, instead in STAND_INS_OF_PLANS if verb == "plan" else STAND_INS:
            options = [re.sub(pattern, instead, option) for option in options]
    made_up = iter(runs)
    options = [
        re.sub(r"^(run=|)(<id>|RUN|[0-9a-f]{4})$", lambda found: found[1] + next(made_up), option) for option in options
    ]
    options = [option.replace("/tmp/", f"{place}/") for option in options if option]
    if verb in ("prepare", "verify"):
        options.append("workers=1")
    if (stage, verb) == ("extract", "run"):
        options.append("grid=4x6")  # as the sources that are there: one store of each
    if (stage, verb) in (("probe", "train"), ("probe", "sweep"), ("probe", "curve")):
        options = [option for option in options if not option.startswith("profile=")]
        options += ["profile=debug", "pictures=0", "resamples=20"]
    if (stage, verb) == ("probe", "report"):
        options = ["profile=debug" if option.startswith("profile=") else option for option in options]
    if (stage, verb) == ("probe", "controls"):
        options = [option for option in options if not option.startswith("probe=")]
        options.append("probe=profile=debug pictures=0 resamples=20")
    return [stage, verb, *options]


def commands(block: Block) -> list[str]:
    """Return the command lines of a block, continued lines joined, comments and prompts taken off."""
    found = []
    given = dict(
        re.findall(r'^export (\w+)="?([^"#\n]*?)"?(?:\s+#.*)?$', block.page.read_text(encoding="utf-8"), re.MULTILINE)
    )
    for raw in block.text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s+#.*$", "", raw.strip().removeprefix("$ ").removeprefix("srun "))
        if re.match(r"(make|python|spatialprobe)\s", line + " "):
            found.append(re.sub(r"\$(\w+)", lambda name: given.get(name[1], name[0]), line))
    return found


def python_commands(line: str) -> list[list[str]]:
    """Return the words behind `spatialprobe`, or behind `python -m`, of a command; of a make target by asking make."""
    words = shlex.split(line)
    if words[0] == "make":
        call = ["make", "-n", f"VENV={sys.prefix}", *words[1:]]
        done = subprocess.run(
            call, cwd=REPOSITORY, env=environment_of_make(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        lines = done.stdout.replace("\\\n", " ").splitlines()
        inner = [shlex.split(found) for found in lines if re.search(r"^\S*(python\S* -m|spatialprobe) \w", found)]
    else:
        inner = [words]
    inner = [found for found in inner if "-m" in found or Path(found[0]).name == "spatialprobe"]
    return [found[found.index("-m") + 1 if "-m" in found else 1 :] for found in inner]
