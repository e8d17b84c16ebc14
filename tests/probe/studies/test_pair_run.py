"""The control table with its probes trained, on stores and ground truth small enough that a probe takes a second."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from configs.cli import main
from data.prepare.prepare import prepare
from probe.__main__ import VERBS
from probe.inputs.inputs import RememberingDataset
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps, position_maps

GRID = (4, 4)
PAIR = "wan-t2v-1.3b+qwen3-vl-2b"
PROBE = "profile=debug trunk.width=16 recipe.length=1 pictures=0 resamples=20 device=cpu"
WIDTHS = {
    "wan-t2v-1.3b": 12, "qwen3-vl-2b": 8, "wan-t2v-1.3b-random": 12, "qwen3-vl-2b-random": 8,
    "wan-t2v-14b": 12, "internvl3-1b": 8,
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Artifact root with five clips, a pair of models, their untrained twins, a second VGM and a second VLM."""
    splits = ["train", "train", "train", "select", "report"]
    shapes = {f"room_{i}": Shape(query_only=True, split=split) for i, split in enumerate(splits)}
    path = tmp_path / "datasets" / "toy"
    prepare(ToySource(shapes), path, plans=("paper-2",), workers=1)
    dataset = RememberingDataset(path)
    for source, width in WIDTHS.items():
        make_store(tmp_path, dataset, source, {None: noise_maps(width, GRID)})
    make_store(tmp_path, dataset, "position", {None: position_maps(GRID)})
    return tmp_path


def controls(root: Path, *words: str) -> int:
    options = [f"model={PAIR.replace('+', ' ')}", "dataset=toy", "task=instance", f"root={root}", f"probe={PROBE}"]
    return main("probe", "", VERBS, ["controls", *options, *words])


def trained(root: Path) -> dict[str, float]:
    """Source -> when its run was finished, of all results."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in (root / "results").glob("*.json")]
    assert all(result["steps"] == 1 and result["report"]["loss"]["value"] is not None for result in results)
    return {result["source"]: result["finished_at"] for result in results}


def check(root: Path, variants: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Train with a row that fails, mend it, and train again."""
    shards = [path for path in (root / "features/toy/internvl3-1b").rglob("c.*") if path.is_file()]
    whole = {path: path.read_bytes() for path in shards}
    for path in shards:
        path.write_bytes(whole[path][:40])
    assert controls(root, f"variants={variants}", "run=true") == 1
    printed, errors = capfd.readouterr()
    broken = "qwen3-vl-2b+internvl3-1b"
    failed = [line for line in errors.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1 and f"model={broken} " in failed[0]
    first = trained(root)
    script = (root / "features/toy" / PAIR / "controls.sh").read_text(encoding="utf-8")
    asked = [word.removeprefix("model=") for word in shlex.split(script, comments=True) if word.startswith("model=")]
    assert len(asked) == len(set(asked)) and set(first) == set(asked) - {broken}
    assert f"controls of {PAIR} on toy" in printed and f"{len(asked)} probe commands" in printed
    assert all(f"{name} " in printed for name in asked) and "missing" not in script
    roles = ["noise for", "position for", "untrained for", "two VLMs", "two VGMs", "fusion's width", "half width"]
    assert all(role in printed for role in roles)

    for path, data in whole.items():
        path.write_bytes(data)
    assert controls(root, f"variants={variants}", "run=true") == 0
    second = trained(root)
    assert set(second) == set(asked) and {name: second[name] for name in first} == first


def test_every_row_trains_and_one_that_fails_loses_no_other(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(root, "zscore", capfd)


@pytest.mark.full
def test_the_same_with_every_variant(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(root, "concat,zscore,l2,pca,sum,gated", capfd)
