"""How many rooms and seeds a difference needs: against the power of a t test, simulation and known variances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from configs.cli import main
from configs.errors import ConfigError, MissingError
from probe.__main__ import VERBS
from probe.metrics.comparison import paired_difference
from probe.report.config import PowerConfig
from probe.studies.power import Variances, plan_power, power_of, rooms_needed


def test_without_seeds_it_is_the_power_of_student_s_test() -> None:
    found = power_of(Variances(4.0, 0.0, 0.0), 1.0, 25, 1, 3, 0.05)
    critical, shift = stats.t.ppf(0.975, 24), 1.0 / (2.0 / 5)
    assert found == pytest.approx(stats.nct.sf(critical, 24, shift))
    with_clips = power_of(Variances(3.0, 4.0, 0.0), 1.0, 25, 4, 3, 0.05)
    assert with_clips == pytest.approx(found)


def test_the_smallest_number_of_rooms_is_found() -> None:
    variances = Variances(1.0, 2.0, 0.05)
    asked: dict[str, Any] = {"power": 0.8, "alpha": 0.05, "least": 12}
    rooms = rooms_needed(variances, 0.6, 4, 3, **asked)
    assert rooms is not None and rooms > 12
    assert power_of(variances, 0.6, rooms, 4, 3, 0.05) >= 0.8 > power_of(variances, 0.6, rooms - 1, 4, 3, 0.05)
    assert rooms_needed(variances, 50.0, 4, 3, **asked) == 12
    assert rooms_needed(Variances(1.0, 0.0, 10.0), 0.5, 1, 3, **asked) is None  # no number of rooms helps


def test_simulated_studies_find_the_difference_as_often() -> None:
    rng, hits = np.random.default_rng(0), 0
    variances = Variances(0.5, 0.0, 2 * 0.1**2)
    for _ in range(150):
        sides = [rng.normal(size=(3, 20)) * 0 + 0.1 * rng.normal(size=(3, 1)) for _ in range(2)]
        difference = 0.5 + np.sqrt(0.5) * rng.normal(size=20)
        hits += paired_difference(sides[0] + difference, sides[1], np.arange(20), number=200).p_value < 0.05
    assert hits / 150 == pytest.approx(power_of(variances, 0.5, 20, 1, 3, 0.05), abs=0.1)


def test_variances_come_from_finished_runs(make_study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study, rng = make_study(400, 40), np.random.default_rng(0)
    rooms = np.arange(400) % 40
    levels = rng.normal(size=40)
    base = 0.3 * (levels / levels.std(ddof=1))[rooms] + 0.4 * rng.normal(size=400)
    for seed in range(3):
        study.per_clip("instance", "qwen3-vl-2b", {"t_miou": base + 0.01 * seed}, seed=seed)
        study.per_clip("instance", "internvl3-1b", {"t_miou": np.zeros(400)}, seed=seed)
    words = ["power", "task=instance", "effect=0.1", "seeds=3", f"root={study.root}"]
    assert main("probe", "about", VERBS, words) == 0
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if "standard deviations" in line)
    between, within, seeds = (float(word) for word in line.replace(",", "").split() if word[0] == "0")
    assert (between, within, seeds) == pytest.approx((0.3, 0.4, 0.01), rel=0.25)
    assert "10" in told  # clips per room, as they are


def test_refusals(make_study: Any) -> None:
    study = make_study(12, 12)
    with pytest.raises(MissingError, match="no finished run"):
        plan_power(PowerConfig(root=str(study.root), task="instance", effect=0.1))
    for source in ("qwen3-vl-2b", "internvl3-1b"):
        study.per_clip("instance", source, {"t_miou": np.linspace(0, 1, 12)})
    with pytest.raises(MissingError, match="at least two seeds"):
        plan_power(PowerConfig(root=str(study.root), task="instance", effect=0.1))
    with pytest.raises(ConfigError, match="above 0"):
        plan_power(PowerConfig(root=str(study.root), task="instance", effect=0.0))
    with pytest.raises(ConfigError, match="t_miuo"):
        plan_power(PowerConfig(root=str(study.root), task="instance", effect=0.1, metric="t_miuo"))
