"""Tagging metrics against loops written from the formulas, scikit-learn, torchmetrics and cases done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from configs.errors import ConfigError, DatasetError, MissingError, NonFiniteError
from probe.metrics.score import Variant
from probe.tasks.tagging.metrics import (
    average_precision,
    bucket_means,
    f1_scores,
    frequency_buckets,
    tagging_score,
)

SEEDS = range(8)


def random_split(seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clips, classes = int(rng.integers(1, 30)), int(rng.integers(1, 12))
    labels = rng.random((clips, classes)) < rng.random(classes)
    scores = rng.integers(-3, 4, (clips, classes)) if ties else rng.normal(size=(clips, classes))
    return labels, scores.astype(float)


def ap_paper_twin(labels: list[int], logits: list[float]) -> float:
    """Rank clips one by one, ties in file order; mean of k / rank of the k-th positive."""
    probabilities = [1 / (1 + math.exp(-z)) for z in logits]
    ranking = sorted(range(len(labels)), key=lambda n: -probabilities[n])  # Python's sort is stable
    found, total = 0, 0.0
    for rank, clip in enumerate(ranking, start=1):
        if labels[clip]:
            found += 1
            total += found / rank
    return total / found if found else math.nan


def ap_standard_twin(labels: list[int], scores: list[float]) -> float:
    """One step per distinct score: sum of (recall gain) * precision at that threshold."""
    positives = sum(labels)
    if not positives:
        return math.nan
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        area += (sum(taken) / positives - recall) * (sum(taken) / len(taken))
        recall = sum(taken) / positives
    return area


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_equals_its_twins(seed: int, ties: bool) -> None:
    labels, scores = random_split(seed, ties=ties)
    twins: dict[Variant, Callable[[list[int], list[float]], float]] = {
        "paper": ap_paper_twin,
        "standard": ap_standard_twin,
    }
    for variant, twin in twins.items():
        expected = [twin(labels[:, c].tolist(), scores[:, c].tolist()) for c in range(labels.shape[1])]
        np.testing.assert_allclose(average_precision(labels, scores, variant=variant), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_standard_equals_scikit_learn_with_ties(seed: int) -> None:
    labels, scores = random_split(seed, ties=True)
    ap = average_precision(labels, scores)
    for c in np.flatnonzero(labels.any(axis=0)):
        assert ap[c] == pytest.approx(average_precision_score(labels[:, c], scores[:, c]), rel=1e-12)


def test_variants_agree_without_ties_and_equal_torchmetrics() -> None:
    from torchmetrics.functional.classification import multilabel_average_precision

    rng = np.random.default_rng(0)
    labels, scores = rng.random((40, 6)) < 0.3, rng.normal(size=(40, 6))
    assert labels.any(axis=0).all()
    expected = multilabel_average_precision(
        torch.tensor(scores), torch.tensor(labels).long(), num_labels=6, average=None
    )
    for variant in ("paper", "standard"):
        np.testing.assert_allclose(average_precision(labels, scores, variant=variant), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("position", [1, 2, 5, 9])
def test_constant_score_with_one_positive(position: int) -> None:
    labels = np.zeros((9, 1), int)
    labels[position - 1] = 1
    scores = np.full((9, 1), 0.7)
    assert average_precision(labels, scores, variant="paper")[0] == pytest.approx(1 / position)
    assert average_precision(labels, scores, variant="standard")[0] == pytest.approx(1 / 9)


def test_perfect_worst_all_positive_and_no_positive() -> None:
    labels = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1]])
    scores = np.array([[4.0, 1, 1, 4], [3, 2, 2, 3], [2, 3, 3, 2], [1, 4, 4, 1]])
    for variant in ("paper", "standard"):
        ap = average_precision(labels, scores, variant=variant)
        assert ap[0] == 1.0
        assert ap[1] == 1.0
        assert math.isnan(ap[2])
        assert ap[3] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_saturated_logits_tie_in_paper_only() -> None:
    labels, logits = np.array([[0], [1]]), np.array([[50.0], [60.0]])
    assert average_precision(labels, logits, variant="paper")[0] == 0.5
    assert average_precision(labels, logits, variant="standard")[0] == 1.0


def test_order_of_clips_matters_in_paper_only() -> None:
    labels, scores = random_split(3, ties=True)
    other = np.random.default_rng(1).permutation(len(labels))
    np.testing.assert_array_equal(average_precision(labels, scores), average_precision(labels[other], scores[other]))
    flipped = average_precision(np.array([[1], [0]]), np.zeros((2, 1)), variant="paper")
    straight = average_precision(np.array([[0], [1]]), np.zeros((2, 1)), variant="paper")
    assert (flipped.tolist(), straight.tolist()) == ([1.0], [0.5])


@pytest.mark.parametrize(
    ("classes", "sizes"), [(20, (6, 6, 8)), (200, (66, 66, 68)), (3, (1, 1, 1)), (2, (1, 1, 0)), (1, (1, 0, 0))]
)
def test_bucket_sizes(classes: int, sizes: tuple[int, ...]) -> None:
    rate = np.random.default_rng(0).random(classes)
    buckets = frequency_buckets(rate)
    assert tuple(np.bincount(buckets, minlength=3)) == sizes
    if classes > 2:
        assert rate[buckets == 0].min() >= rate[buckets == 1].max() >= rate[buckets == 2].max()


def test_equal_rates_keep_the_order_of_classes() -> None:
    assert frequency_buckets(np.full(6, 0.5)).tolist() == [0, 0, 1, 1, 2, 2]
    assert frequency_buckets(np.array([0.1, 0.9, 0.1, 0.9, 0.5, 0.5])).tolist() == [2, 0, 2, 0, 1, 1]


def test_missing_or_broken_rates_are_errors() -> None:
    labels, scores = np.array([[1, 0], [0, 1]]), np.array([[1.0, -1], [-1, 1]])
    with pytest.raises(MissingError, match="training split"):
        tagging_score(labels, scores, None)
    with pytest.raises(NonFiniteError):
        frequency_buckets(np.array([0.1, np.nan]))
    with pytest.raises(DatasetError):
        frequency_buckets(np.array([0.1, 1.5]))
    with pytest.raises(DatasetError):
        tagging_score(labels, scores, np.array([0.1, 0.2, 0.3]))


def test_bucket_means_skip_classes_without_positives() -> None:
    ap = np.array([0.9, np.nan, 0.5, 0.3, np.nan, np.nan])
    values = bucket_means(ap, np.array([0, 0, 1, 1, 2, 2]))
    assert values["map"] == pytest.approx((0.9 + 0.5 + 0.3) / 3)
    assert values["ap_head"] == pytest.approx(0.9)
    assert values["ap_mid"] == pytest.approx(0.4)
    assert math.isnan(values["ap_tail"])
    assert values["mid_ratio"] == pytest.approx(0.4 / values["map"])
    assert math.isnan(bucket_means(np.array([np.nan]), np.array([0]))["mid_ratio"])


def test_mid_ratio_reproduces_published_rows_and_average() -> None:
    rows = {  # AP_mid, mAP, published ratio: the eight video models
        "wan-t2v-1.3b": (59.60, 68.04, 0.876),
        "wan-t2v-14b": (71.04, 80.00, 0.888),
        "wan-i2v-14b": (60.02, 69.51, 0.863),
        "cogvideox-t2v-2b": (58.20, 71.45, 0.815),
        "cogvideox-t2v-5b": (55.14, 69.29, 0.796),
        "cogvideox-i2v-5b": (51.65, 67.39, 0.766),
        "opensora-v2": (56.38, 67.02, 0.841),
        "aether": (57.02, 66.43, 0.858),
    }
    for mid, mean, ratio in rows.values():
        assert bucket_means(np.array([mid, 2 * mean - mid]), np.array([1, 0]))["mid_ratio"] == pytest.approx(
            ratio, abs=6e-4
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_f1_equals_scikit_learn_and_its_loops(seed: int) -> None:
    labels, logits = random_split(seed, ties=False)
    probability = 1 / (1 + np.exp(-logits))
    f1 = f1_scores(labels, probability)
    decided = probability >= 0.5
    tp = fp = fn = 0
    per_class = []
    for c in range(labels.shape[1]):
        here = [0, 0, 0]
        for n in range(len(labels)):
            here[0] += bool(labels[n, c] and decided[n, c])
            here[1] += bool(not labels[n, c] and decided[n, c])
            here[2] += bool(labels[n, c] and not decided[n, c])
        tp, fp, fn = tp + here[0], fp + here[1], fn + here[2]
        per_class.append(2 * here[0] / (2 * here[0] + here[1] + here[2]) if labels[:, c].any() else math.nan)
    np.testing.assert_allclose(f1.per_class, per_class)
    if 2 * tp + fp + fn:
        assert f1.of1 == pytest.approx(2 * tp / (2 * tp + fp + fn))
    if labels.any():
        assert f1.of1 == pytest.approx(f1_score(labels.ravel(), decided.ravel()))
        assert f1.cf1 == pytest.approx(np.nanmean(per_class))


def test_of1_counts_false_positives_of_absent_classes_and_cf1_does_not() -> None:
    f1 = f1_scores(np.array([[True, False]]), np.array([[0.5, 0.5]]))  # the threshold itself decides yes
    assert f1.cf1 == 1.0
    assert f1.of1 == pytest.approx(2 / 3)
    assert f1.thresholds[0] == 0.5
    assert math.isnan(f1.thresholds[1])


def test_f1_without_positives_and_decisions() -> None:
    labels, probability = np.zeros((2, 2), bool), np.zeros((2, 2))
    assert math.isnan(f1_scores(labels, probability).of1)
    assert f1_scores(labels, probability, variant="paper").of1 == 0.0
    assert math.isnan(f1_scores(labels, probability).cf1)


@pytest.mark.parametrize("variant", ["paper", "standard"])
def test_score_of_a_split_is_consistent(variant: Variant) -> None:
    rng = np.random.default_rng(5)
    labels, logits = rng.random((50, 20)) < 0.3, rng.normal(size=(50, 20))
    labels[:, 3] = False
    score = tagging_score(labels, logits, rng.random(20), variant=variant)
    assert score.values["map"] == pytest.approx(np.nanmean(score.ap))
    assert score.n_positives[3] == 0
    assert math.isnan(score.ap[3])
    parts = [score.values[f"ap_{name}"] for name in ("head", "mid", "tail")]
    sizes = [int((~np.isnan(score.ap[score.buckets == b])).sum()) for b in range(3)]
    assert score.values["map"] == pytest.approx(np.average(parts, weights=sizes))


def test_bad_input_is_refused() -> None:
    labels, scores = np.array([[1, 0]]), np.array([[0.1, 0.2]])
    with pytest.raises(NonFiniteError):
        average_precision(labels, np.array([[0.1, np.nan]]))
    with pytest.raises(DatasetError):
        average_precision(labels + 1, scores)
    with pytest.raises(DatasetError):
        average_precision(labels, scores[:, :1])
    with pytest.raises(ConfigError, match="variant"):
        average_precision(labels, scores, variant="other")  # type: ignore[arg-type]
    assert np.isnan(average_precision(np.zeros((0, 3)), np.zeros((0, 3)))).all()
