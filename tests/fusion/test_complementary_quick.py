"""Two partial oracles: what either knows can be read from their fusion, and width alone does not explain it.

The read-out is as small as a probe can be, and exact: random ReLU units and a ridge regression, trained on some rooms
and scored on others. `test_complementary.py` asks the same of the probes themselves, in minutes.

Scores lie in [0, 1]. On each task the fusion by z-score, which takes nothing away from a channel, loses at most
`MARGIN` against the parent that knows the answer. The published fusion normalises each cell, which takes the scale of
seven channels of depth and rays away: it must stay closer to that parent than to the control. With noise of the same
width in that parent's place the score stays below half way between the other parent and the fusion.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from data.dataset import PreparedDataset
from fusion.opening import open_source
from tests.probe.train.feature_stores import make_store, oracle_maps

GRID = (8, 12)
UNITS = 300
MARGIN = 0.05
Readout = Callable[[Path, str], float]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact root with six small rooms, an oracle of instance codes, and one of depth and rays."""
    from configs.cli import main
    from data.__main__ import VERBS

    root = tmp_path_factory.mktemp("rooms")
    words = ["prepare", "dataset=rooms", "preset=nano", "clips=6", "render=query", f"root={root}", "workers=1"]
    assert main("data", "", VERBS, words) == 0, sys.stderr
    dataset = PreparedDataset.open("rooms-nano", str(root))
    make_store(root, dataset, "codes", {None: oracle_maps(("code",), GRID)})
    make_store(root, dataset, "space", {None: oracle_maps(("depth", "rays"), GRID)})
    return root


def cells(root: Path, model: str) -> np.ndarray:
    """All features of a source: (clips, 20, cells, C) float64, as a probe would read them."""
    source = open_source(root, "rooms-nano", model)
    (name,) = source.arrays
    maps = source.read([(clip, name, range(20)) for clip in source.clips])
    return maps.double().flatten(2, 3).numpy()  # type: ignore[union-attr]


def fitted(train: np.ndarray, answers: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Answers for `test` from random ReLU units of standardised inputs and a ridge regression."""
    scale = StandardScaler().fit(train)
    weights = np.random.default_rng(0).normal(size=(train.shape[1] + 1, UNITS)) / np.sqrt(train.shape[1])

    def units(inputs: np.ndarray) -> np.ndarray:
        scaled = scale.transform(inputs)
        return np.hstack([scaled, np.maximum(scaled @ weights[1:] + weights[0], 0)])

    return Ridge(alpha=1.0).fit(units(train), answers).predict(units(test))


def geometry(root: Path, model: str) -> float:
    """R2 of log depth in rooms that were not trained on, at least 0."""
    features, depth = cells(root, model), cells(root, "space")[..., 0]
    train, test = features[:4].reshape(-1, features.shape[-1]), features[4:].reshape(-1, features.shape[-1])
    return max(0.0, r2_score(depth[4:].ravel(), fitted(train, depth[:4].ravel(), test)))


def instances(root: Path, model: str) -> float:
    """How well pairs of cells of one object are told from other pairs of the same clip: area under the ROC curve."""
    features, codes = cells(root, model), cells(root, "codes")
    random = np.random.default_rng(1)
    differences, same = [], []
    for maps, code in zip(features, codes, strict=True):
        maps, code = maps.reshape(-1, maps.shape[-1]), code.reshape(-1, code.shape[-1])
        one, other = random.integers(0, len(maps), (2, 3000))
        equal = np.abs(code[one] - code[other]).max(1) < 1e-6
        differences.append(np.abs(maps[one] - maps[other]))
        same.append(equal)
    train, test = np.concatenate(differences[:4]), np.concatenate(differences[4:])
    return float(roc_auc_score(np.concatenate(same[4:]), fitted(train, np.concatenate(same[:4]), test)))


@pytest.mark.parametrize("variant", ["", "@zscore"])
@pytest.mark.parametrize(
    ("task", "knows", "other", "control"),
    [(geometry, "space", "codes", "codes+noise~7"), (instances, "codes", "space", "noise~16+space")],
)
def test_the_fusion_has_both_strengths(
    rooms: Path, task: Readout, knows: str, other: str, control: str, variant: str
) -> None:
    parent, weak = task(rooms, knows), task(rooms, other)
    fused, random = task(rooms, f"codes+space{variant}"), task(rooms, f"{control}{variant}")
    assert parent > weak + 4 * MARGIN, "the parents differ in what they know"
    assert fused >= (parent - MARGIN if variant else (parent + random) / 2), (parent, fused, random)
    assert random < (weak + fused) / 2, (weak, fused, random)
