"""`probe import`: published weights become a finished run with the scores that they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError, MissingError
from configs.loader import resolve
from probe.config import import_layers
from probe.results.apply import evaluate
from probe.results.imports import import_checkpoint
from probe.tasks.instance.head import InstanceProbe
from probe.train.run_folder import load_checkpoint
from probe.train.train import train
from tests.probe.networks import TINY, options_of
from tests.probe.results.test_checkpoint_import import published_names, save


def imported(root: Path, checkpoint: Path, **given: str) -> dict[str, Any]:
    words = {"task": "instance", "root": str(root), "model": "speckle", "profile": "debug", **TINY}
    words |= {"checkpoint": str(checkpoint), **{key.replace("__", "."): value for key, value in given.items()}}
    layers = import_layers(words)
    return import_checkpoint(resolve(layers.start, layers.values, words))


def test_imported_weights_score_as_where_they_come_from(artifacts: Path, tmp_path: Path, configure: Any) -> None:
    from probe.config import EvaluateConfig

    (original,) = train(configure(artifacts, "instance"))
    run = load_checkpoint(artifacts / "runs" / original["run_id"] / "best.ckpt", original["run_id"])
    options = configure(artifacts, "instance").probe
    probe = InstanceProbe(8, (4, 4), options)
    probe.load_state_dict(run["weights"])
    path = save(published_names(probe), tmp_path / "published.ckpt")

    result = imported(artifacts, path)
    assert result["run_id"] != original["run_id"] and result["steps"] == 0
    assert result["imported"]["file"] == "published.ckpt" and len(result["imported"]["sha256"]) == 64
    assert result["report"] == original["report"] and result["select"] == original["select"]
    assert imported(artifacts, path)["finished_at"] == result["finished_at"]  # not scored twice
    applied = evaluate(EvaluateConfig(root=str(artifacts), run=result["run_id"], split="select", resamples=50))
    assert applied["metrics"]["t_miou"]["value"] == result["select"]["t_miou"]["value"]


def test_what_does_not_fit_is_refused(artifacts: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such checkpoint"):
        imported(artifacts, tmp_path / "none.ckpt")
    other = InstanceProbe(8, (4, 4), options_of("instance", "debug", {"trunk.width": "16", "trunk.heads": "2"}))
    path = save(published_names(other), tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match="another probe"):
        imported(artifacts, path, trunk__width="32")
    assert not (artifacts / "results").exists()
    with pytest.raises(ConfigError, match="one probe on one layer"):
        imported(artifacts, path, seeds="0,1")


def test_paper_is_the_default_profile() -> None:
    layers = import_layers({"task": "instance"})
    config: Any = resolve(layers.start, layers.values, {"task": "instance", "checkpoint": "x"})
    assert config.run.how.profile == "paper" and config.run.probe.trunk.width == 1024
