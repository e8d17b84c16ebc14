"""The package as a whole: imports without torch, one entry per metric, documented keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from probe.task import known_metrics
from probe.tasks.geometry.metrics.depth import DEPTH_KEYS
from probe.tasks.geometry.metrics.finegrained import error_percentiles
from probe.tasks.geometry.metrics.pose import POSE_KEYS
from probe.tasks.instance.metrics import instance_score, match_objects
from probe.tasks.tagging.metrics import tagging_score
from tests.probe import public

ROOT = Path(__file__).parents[3]
METRICS = {key: metric for name in ("tagging", "instance", "geometry") for key, metric in known_metrics(name).items()}
DIAGNOSTIC = {"random_map", "log_loss", "t_miou_ceiling", "t_sr_ceiling"}


def test_importing_loads_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from tests.probe import public; public.modules(*public.METRICS)\n"
        "print([m for m in ('torch', 'sklearn', 'roma', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_function_says_what_it_is() -> None:
    for name, function in public.functions(*public.METRICS).items():
        assert function.__doc__, name


def test_every_fixed_key_is_described() -> None:
    rng = np.random.default_rng(0)
    tagging = tagging_score(rng.random((9, 3)) < 0.5, rng.normal(size=(9, 3)), rng.random(3)).values
    truth = np.ones((1, 2, 2), int)
    instance = instance_score(match_objects(truth, truth), things=np.array([1])).values
    percentiles = error_percentiles(np.ones((1, 2, 2)), truth > 0).values
    produced = {*tagging, *instance, *percentiles, *DEPTH_KEYS, *POSE_KEYS, "pmap_err"}
    assert produced | DIAGNOSTIC == set(METRICS)


def test_diagnostic_metrics_are_no_columns() -> None:
    assert {key for key, info in METRICS.items() if info.diagnostic} == DIAGNOSTIC
    assert not any(info.header for info in METRICS.values() if info.diagnostic)


def test_columns_of_the_published_table_have_headers() -> None:
    columns = {"ap_mid", "map", "mid_ratio", "t_sr", "t_miou", "pmap_err", "abs_rel", "auc_30"}
    assert {key for key, info in METRICS.items() if info.header} == columns
    assert METRICS["pmap_err"].better == METRICS["abs_rel"].better == "lower"
    assert METRICS["auc_30"].better == "higher"


@pytest.mark.parametrize("key", sorted(METRICS))
def test_documentation_names_every_key(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
