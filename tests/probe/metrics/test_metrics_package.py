"""The package as a whole: imports without torch, one entry per metric, documented keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import probe.metrics as metrics
from probe.metrics.depth import DEPTH_KEYS
from probe.metrics.pose import POSE_KEYS

ROOT = Path(__file__).parents[3]


def test_importing_loads_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, probe.metrics; print([m for m in ('torch', 'sklearn', 'roma', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_says_what_it_is() -> None:
    for name in metrics.__all__:
        thing = getattr(metrics, name)
        if callable(thing) and name != "Variant":
            assert thing.__doc__, name


def test_every_fixed_key_is_described() -> None:
    rng = np.random.default_rng(0)
    tagging = metrics.tagging_score(rng.random((9, 3)) < 0.5, rng.normal(size=(9, 3)), rng.random(3)).values
    truth = np.ones((1, 2, 2), int)
    instance = metrics.instance_score(metrics.match_objects(truth, truth), things=np.array([1])).values
    percentiles = metrics.error_percentiles(np.ones((1, 2, 2)), truth > 0).values
    produced = {*tagging, *instance, *percentiles, *DEPTH_KEYS, *POSE_KEYS, "pmap_err"}
    assert produced == set(metrics.METRICS)


def test_columns_of_the_published_table_are_primary() -> None:
    columns = {"ap_mid", "map", "mid_ratio", "t_sr", "t_miou", "pmap_err", "abs_rel", "auc_30"}
    assert {key for key, info in metrics.METRICS.items() if info.primary} == columns
    assert metrics.METRICS["pmap_err"].better == metrics.METRICS["abs_rel"].better == "lower"
    assert metrics.METRICS["auc_30"].better == "higher"


@pytest.mark.parametrize("key", sorted(metrics.METRICS))
def test_documentation_names_every_key(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
