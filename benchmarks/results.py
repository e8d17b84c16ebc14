"""What digests of runs cost: `python -m benchmarks.results [runs=2000 mib=256]`, or `make bench-results`.

- Listing runs: the first look, which hashes the files of every run, and later looks, which compare sizes and times,
  against reading the same results files as JSON with no check at all.
- Checkpoints: saving and loading against `torch.save` into memory with the same atomic file, and `torch.load`.

Seconds are those of the processor, medians, with all files in the kernel's memory; ratios are those of the baseline
over ours, 1 is no cost.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import command
from configs.console import print_table
from configs.files import results_path, runs_path, write_atomic
from configs.identity import digest
from configs.options import option
from data.dataset.tables import parquet_bytes
from probe.results import results
from probe.results.survey import CHECKED, FILES, folder_digests, survey
from probe.train.run_folder import load_checkpoint, save_checkpoint


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    runs: int = option(2000, "finished runs", minimum=1)
    clips: int = option(100, "report clips of each", minimum=1)
    mib: int = option(256, "MiB of weights in a checkpoint", minimum=1)
    repeats: int = option(5, "repeats of everything but the first look", minimum=1)
    folder: str | None = option(None, "where to work; default the system's temporary folder")


def write_runs(options: Options, root: Path) -> None:
    """Write finished runs with the files, and about the sizes, of tagging."""
    metrics = [f"metric_{i}" for i in range(12)]
    score = {"value": 0.123456789, "low": 0.1, "high": 0.2, "n": options.clips, "undefined": 0, "reasons": {}}
    rows = [
        {"split": "report", "clip_id": f"clip{i:04d}", "group_id": f"room{i // 4}", "metric": name, "value": i / 7}
        for i in range(options.clips)
        for name in metrics
    ]
    predictions = [{"split": "report", "clip_id": f"clip{i:04d}", "logits": [i / 3] * 20} for i in range(options.clips)]
    content = dict.fromkeys(FILES, b"0.123456789,1,2\n" * 200)
    content |= {results.CLIPS: parquet_bytes(pd.DataFrame(rows))}
    content |= {results.PREDICTIONS: parquet_bytes(pd.DataFrame(predictions))}
    for number in range(options.runs):
        run_id = digest(number)[:16]
        folder = runs_path(str(root)) / run_id
        folder.mkdir(parents=True)
        for name, data in content.items():
            (folder / name).write_bytes(data)
        facts: dict[str, Any] = {
            "format": results.FORMAT, "run_id": run_id, "task": "tagging", "source": f"model-{number}",
            "dataset": "d", "store": "0" * 64, "array": "llm.b1.4x4", "tap": "llm", "grid": [4, 4], "channels": 8,
            "profile": "standard",
            "seed": 0, "depth": "4", "control": "", "fraction": 1.0, "split_scheme": "standard", "variant": "standard",
            "plan": "paper-2", "made_from": {},
            "inputs": dict.fromkeys(("dataset_parameters", "clips", "truth", "plan"), "0" * 64),
            "config": {"data_seed": 0} | {f"option_{i}": i for i in range(60)},
            "weights": "0" * 64,
            "classes": [{"name": f"class{i}", "ap": 0.5, "f1": 0.5, "positives": 3} for i in range(20)],
            "select": dict.fromkeys(metrics, score), "report": dict.fromkeys(metrics, score),
        }  # fmt: skip
        path = results.result_file(str(root), run_id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(results.to_json({**facts, "files": folder_digests(folder)}))


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time that some work keeps the processor busy."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def listing(options: Options, root: Path) -> None:
    """Print what listing runs costs."""
    write_runs(options, root)

    def plain() -> None:
        for path in sorted(results_path(str(root)).glob("*.json")):
            json.loads(path.read_bytes())

    def look() -> None:
        if len(survey(str(root)).whole) != options.runs:
            raise AssertionError("runs were left out")

    baseline = seconds(plain, options.repeats)
    (results_path(str(root)) / CHECKED).unlink(missing_ok=True)
    first = seconds(look, 1)
    later = seconds(look, options.repeats)
    rows = [["first look", first, baseline, baseline / first], ["later looks", later, baseline, baseline / later]]
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / options.runs
    columns = ["", "seconds", "JSON alone, seconds", "ratio"]
    print_table(f"Listing {options.runs} runs of {size / 1e3:.0f} kB each", columns, rows)


def checkpoints(options: Options, folder: Path) -> None:
    """Print what the digest of a checkpoint costs."""
    state = {"weights": {str(i): torch.randn(1 << 18) for i in range(options.mib)}}

    def plain_save() -> None:
        buffer = BytesIO()
        torch.save(state, buffer)
        write_atomic(folder / "plain.ckpt", buffer.getvalue())

    ours = folder / "ours.ckpt"
    saved = seconds(lambda: save_checkpoint(ours, "run", state), options.repeats)
    plainly = seconds(plain_save, options.repeats)
    loaded = seconds(lambda: load_checkpoint(ours, "run"), options.repeats)
    plain_loaded = seconds(lambda: torch.load(folder / "plain.ckpt", weights_only=True), options.repeats)
    rows = [["save", saved, plainly, plainly / saved], ["load", loaded, plain_loaded, plain_loaded / loaded]]
    rate = options.mib / 1024 / max(loaded - plain_loaded, 1e-9)
    print_table(
        f"A checkpoint of {options.mib} MiB", ["", "seconds", "torch alone, seconds", "ratio"], rows,
        notes=[f"the check reads {rate:.1f} GiB/s; a run loads two checkpoints when it resumes, and one when applied"],
    )  # fmt: skip


def main(options: Options) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="results-", dir=options.folder) as folder:
        listing(options, Path(folder) / "root")
        print()
        checkpoints(options, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
