"""The commands whose results make up the baseline, and how they are run: the only place that spells them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m")
DATASET = "rooms-nano"
TINY = f"dataset={DATASET} weights=random size=tiny workers=1"
PARTS = "oracle-code-classes oracle-depth-rays"
FUSED = "oracle-code-classes+oracle-depth-rays"
VLM, VGM = "qwen3-vl-2b-tiny-random", "cogvideox-t2v-2b-tiny-random"
SWEPT = f"pixels position {PARTS} {FUSED} {VLM} pixels+{VLM}"

# Written as in a shell. {run} is the smoke geometry probe's id.
COMMANDS = (
    # 24 clips: 18 to learn from, 3 to select, 3 to report, so that intervals and differences exist.
    "data prepare kind=rooms preset=nano clips=24 workers=1",
    # One model per family, and the settings that take other paths. Only what probes read needs every clip.
    f"extract run model=qwen3-vl-2b layers=all {TINY}",
    f"extract run model=wan-t2v-1.3b,cogvideox-t2v-2b,opensora,aether layers=all limit=2 {TINY}",
    f"extract run model=wan-i2v-14b,cogvideox-i2v-5b layers=paper limit=1 {TINY}",
    f"extract run model=qwen2.5-vl-3b,internvl3-1b layers=all limit=2 {TINY}",
    f"extract run model=sensenova-internvl3-8b,sensenova-qwen3-vl-8b layers=all limit=2 {TINY}",
    f"extract run model=cogvideox-t2v-5b tap=vae,dit grid=native,paper temporal=aligned limit=1 {TINY}",
    f"extract run model=qwen3-vl-4b,internvl3.5-4b tap=vision,llm grid=native,paper protocol=paper limit=1 {TINY}",
    f"extract run model=pixels,position,oracle,oracle-code-classes,oracle-depth-rays dataset={DATASET} workers=1",
    "extract run model=oracle-colour,oracle-normal,oracle-depth,oracle-rays,oracle-code,oracle-classes "
    f"limit=2 dataset={DATASET} workers=1",
    # Probes that learn something, then many small ones. Views are read lazily here: their values show in the weights.
    f"probe train task=tagging model=oracle dataset={DATASET} profile=smoke seeds=0",
    f"probe train task=instance model=oracle dataset={DATASET} profile=smoke seeds=0",
    f"probe train task=geometry model=oracle dataset={DATASET} profile=smoke seeds=0",
    "probe evaluate run={run} plan=paper-2-d3 split=select",
    f'probe sweep task=tagging model="{SWEPT}" layers=even4 dataset={DATASET} profile=debug seeds=0,1 workers=1',
    f'probe sweep task=instance model="{SWEPT}" layers=paper dataset={DATASET} profile=debug seeds=0 workers=1',
    f'probe sweep task=geometry model="{SWEPT}" layers=paper dataset={DATASET} profile=debug seeds=0 workers=1',
    f"probe train task=tagging model=oracle dataset={DATASET} profile=debug seeds=0 control=true mdl=true",
    f"probe train task=instance model={FUSED}@zscore dataset={DATASET} profile=debug seeds=0",
    f"probe train task=geometry model=pixels+position@gated dataset={DATASET} profile=debug seeds=0",
    # The same arithmetic written out: from here on their names open stores, so no probe may follow.
    f'fusion fuse model="pixels {VLM}" layers=all,3 dataset={DATASET} materialise=true',
    f'fusion fuse model="{VLM} {VGM}" layers=3,3 clips=common dataset={DATASET} materialise=true',
    f'fusion fuse model="pixels position" variant=pca dataset={DATASET} materialise=true',
    "probe report",
)
# One thread and no GPU: sums are added up in the same order everywhere.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(REPOSITORY),
}


class CommandFailed(Exception):
    """A command of the list ended with an error; the message shows its last lines."""


def run_all(root: Path, run_id: Callable[[], str]) -> None:
    """Run the commands one after another below an artifact root; `run_id` finds the run that {run} stands for."""
    environment = {**os.environ, **ENVIRONMENT, "SPATIALPROBE_HOME": str(root)}
    log = root / "commands.log"
    for number, command in enumerate(COMMANDS, 1):
        print(f"[{number:2} of {len(COMMANDS)}] {command}", flush=True)
        start = time.perf_counter()
        words = shlex.split(command.replace("{run}", run_id()) if "{run}" in command else command)
        with log.open("ab") as output:
            code = subprocess.run(
                [*PROGRAM, *words], cwd=REPOSITORY, env=environment, stdout=output, stderr=output, check=False
            ).returncode
        if code:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise CommandFailed(f"exit code {code} of: {' '.join(words)}\n{tail}\nall output: {log}")
        print(f"           {time.perf_counter() - start:.0f} s", flush=True)
