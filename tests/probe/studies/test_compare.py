"""`spatialprobe probe compare`: one test of two runs, and refusals that say what differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.errors import ConfigError, MissingError
from probe.__main__ import VERBS
from probe.metrics.comparison import paired_difference
from probe.report.config import CompareConfig
from probe.studies.compare import compare, print_comparison


def values(seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.4, 32) + shift


@pytest.fixture
def two(make_study: Any) -> tuple[Any, str, str]:
    study = make_study(32, 16)
    a = study.per_clip("instance", "oracle", {"t_miou": values(1, 0.3), "t_sr": values(2)}, tap="oracle")
    b = study.per_clip("instance", "pixels", {"t_miou": values(3), "t_sr": values(4)}, tap="pixels")
    return study, a, b


def config(study: Any, a: str, b: str, **options: Any) -> CompareConfig:
    return CompareConfig(root=str(study.root), a=a, b=b, **options)


def test_two_runs(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study, a, b = two
    found = compare(config(study, a, b[:6]))
    expected = paired_difference(values(1, 0.3), values(3), list(study.rooms.values()), number=1000)
    assert found.main.metric == "t_miou"
    assert found.main.interval == expected.interval
    assert found.verdict == "no test: one seed: its spread is not known"
    assert [pair.metric for pair in found.others] == ["t_sr"]
    print_comparison(found)
    told = capsys.readouterr().out
    for words in ("Ground truth", "Pixel statistics", "32 clips in 16 rooms", "effect size", "p value"):
        assert words in told


def test_seeds_are_averaged_by_a_selector(two: Any) -> None:
    study, _, _ = two
    study.per_clip("instance", "oracle", {"t_miou": values(9, 0.1)}, tap="oracle", seed=2)
    study.per_clip("instance", "pixels", {"t_miou": values(3, 0.001)}, tap="pixels", seed=2)
    found = compare(config(study, "model=oracle,task=instance", "model=pixels,task=instance"))
    assert (len(found.a.runs), len(found.b.runs)) == (2, 2)
    assert found.main.test == "sign flips and bootstrap-t with seeds"
    assert found.main.a_value == pytest.approx((values(1, 0.3).mean() + values(9, 0.1).mean()) / 2)


def test_another_metric(two: Any) -> None:
    study, a, b = two
    found = compare(config(study, a, b, metric="t_sr"))
    assert found.main.interval.value == pytest.approx((values(2) - values(4)).mean())
    with pytest.raises(ConfigError, match="t_sr"):
        compare(config(study, a, b, metric="t_sx"))


def test_runs_that_differ_in_more_are_refused_with_the_difference(two: Any) -> None:
    study, a, _ = two
    other = study.per_clip("instance", "pixels", {"t_miou": values(5)}, plan="paper-8")
    with pytest.raises(ConfigError, match="queries: 'paper-2' -> 'paper-8'"):
        compare(config(study, a, other))
    task = study.per_clip("geometry", "pixels", {"abs_rel": values(5)})
    with pytest.raises(ConfigError, match="task: 'instance' -> 'geometry'"):
        compare(config(study, a, task))
    dataset = study.per_clip("instance", "pixels", {"t_miou": values(5)}, dataset="other")
    with pytest.raises(ConfigError, match="dataset: 'toy' -> 'other'"):
        compare(config(study, a, dataset))


def test_unknown_and_ambiguous_sides(two: Any) -> None:
    study, a, b = two
    with pytest.raises(MissingError, match="no finished run"):
        compare(config(study, "zz", b))
    with pytest.raises(MissingError, match="several"):
        compare(config(study, "", b))
    with pytest.raises(ConfigError, match="did you mean"):
        compare(config(study, "modle=oracle", b))
    study.per_clip("instance", "oracle", {"t_miou": values(5)}, depth=4, tap="oracle")
    with pytest.raises(ConfigError, match="more than the seed"):
        compare(config(study, "model=oracle", b))
    assert compare(config(study, "model=oracle,depth=0", b)).a.runs[0].run_id == a


def test_lost_tables_are_an_error_with_a_fix(two: Any) -> None:
    study, a, b = two
    (study.root / "runs" / b / "clips.parquet").unlink()
    with pytest.raises(MissingError, match="missing"):
        compare(config(study, a, b))


def test_plain_words_name_the_sides(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from configs.cli import main

    study, _, _ = two
    for task, shift in (("oracle", 0.3), ("pixels", 0.0)):
        study.per_clip("instance", task, {"t_miou": values(5, shift)}, tap=task, seed=2)
    a, b = "model=oracle,task=instance", "model=pixels,task=instance"
    assert main("probe", "about", VERBS, ["compare", f"a={a}", f"b={b}", f"root={study.root}"]) == 0
    assert "a is better" in capsys.readouterr().out
    assert main("probe", "about", VERBS, ["compare", f"b={a}", f"a={b}", f"root={study.root}"]) == 0
    assert "b is better" in capsys.readouterr().out
    assert main("probe", "about", VERBS, ["compare", a, b, "third", f"root={study.root}"]) == 2
