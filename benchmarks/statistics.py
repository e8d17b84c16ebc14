"""Do intervals cover, and do tests err as rarely as they say? `python -m benchmarks.statistics [only=means]`.

Simulated scores of rooms with 1 to 30 clips, judged by the functions that results and reports use:

- means: coverage of 95 % intervals of the mean over rooms, for symmetric, heavy-tailed, skewed and rare-loss scores.
- differences: how often a test tells two equal models apart (size), and two different ones (power).
- pooled: coverage of the mAP of infinitely many rooms, and of differences of two mAPs.
- seeds: size for equal features under probes of other seeds, whatever the spread between seeds.
- choices: coverage and size where the reported clips chose the best of several layers.
- page: 9 + 9 models on three tasks and nothing there: how often the primary family, or any finding, errs; power of a
  difference between a model and its twin.

Each rate stands beside its own 95 % interval (Wilson); a target counts as missed only if that lies beyond it.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks import command
from configs.console import Progress, print_table
from configs.options import option
from probe.metrics.choices import difference_of_choices, interval_of_choice
from probe.metrics.comparison import compare_with_zero, contrast_of_kinds, holm, max_t, paired_estimate
from probe.metrics.statistics import Estimate, Interval, contrast, estimate_mean, estimate_pooled, interval_of
from probe.tasks.tagging.jackknife import tagging_pooled
from probe.tasks.tagging.metrics import average_precision

SECTIONS = ("means", "differences", "pooled", "seeds", "choices", "page")
Array: TypeAlias = NDArray[Any]
LEVEL = 0.05
DRAWS = 1000
"""Of each interval."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    repeats: int = option(2000, "simulated studies of each row; a tenth of it for a page", minimum=10)
    only: str = option("all", "which section", choices=("all", *SECTIONS))
    seed: int = option(0, "of everything drawn", minimum=0)


@dataclasses.dataclass(frozen=True)
class Row:
    """A rate that is simulated.

    Attributes:
        what: what is measured, and where.
        rooms: rooms of each study.
        once: one study: whether the interval covers, or the test rejects; None if there was nothing to judge.
        target: at least (coverage, power) or at most (size) that.
        at_least: which of the two; None for a row without a target.
    """

    what: str
    rooms: int
    once: Callable[[np.random.Generator], bool | None]
    target: float | None = None
    at_least: bool = True


def covers(interval: Interval, truth: float) -> bool | None:
    return None if interval.reason else interval.low <= truth <= interval.high


def without_seeds(estimate: Estimate) -> Estimate:
    """Of one probe without a seed: what is left to chance are the rooms."""
    return dataclasses.replace(estimate, others=())


# ---- scores of clips

SCORES = ("normal", "heavy tails", "skewed", "rare losses")


def clips(draw: np.random.Generator, rooms: int, kind: str) -> tuple[Array, Array, float]:
    """Return scores of clips, their rooms and the true mean over rooms."""
    groups = np.repeat(np.arange(rooms), draw.integers(1, 31, rooms))
    number = len(groups)
    if kind == "normal":
        return draw.normal(size=rooms)[groups] + draw.normal(size=number), groups, 0.0
    if kind == "heavy tails":
        return draw.standard_t(3, rooms)[groups] + draw.standard_t(3, number), groups, 0.0
    if kind == "skewed":
        values = np.exp(draw.normal(size=rooms))[groups] * np.exp(0.5 * draw.normal(size=number))
        return values, groups, math.exp(0.625)
    lost = draw.random(number) < draw.beta(0.5, 9.5, rooms)[groups]
    return lost.astype(np.float64), groups, 0.05


def means() -> Iterator[Row]:
    wanted = {12: (0.92, 0.89), 18: (0.92, 0.91), 30: (0.92, 0.91), 50: (0.92, 0.92)}
    for kind in SCORES:
        for rooms, targets in wanted.items():

            def once(draw: np.random.Generator, rooms: int = rooms, kind: str = kind) -> bool | None:
                values, groups, truth = clips(draw, rooms, kind)
                return covers(interval_of(estimate_mean(values, groups), number=DRAWS), truth)

            yield Row(f"coverage, {kind}", rooms, once, targets[kind in SCORES[2:]])


def differences() -> Iterator[Row]:
    for kind in (*SCORES, "skewed, one side more"):
        for rooms in (12, 18, 50):

            def once(draw: np.random.Generator, rooms: int = rooms, kind: str = kind) -> bool:
                one_side = kind == "skewed, one side more"
                values, groups, truth = clips(draw, rooms, "skewed" if one_side else kind)
                own = (values - truth) * draw.uniform(0.5, 1.0, len(values))
                other = clips_like(draw, groups, "skewed" if one_side else kind)
                spread = 0.3 if one_side else 1.0
                estimate = contrast((1, -1), paired_estimate(own, spread * other, groups))
                return rejects(without_seeds(estimate))

            yield Row(f"size, {kind}", rooms, once, 0.11 if rooms == 12 else 0.07, at_least=False)
    for effect in (0.5, 1.0):
        for rooms in (12, 18, 50):

            def found(draw: np.random.Generator, rooms: int = rooms, effect: float = effect) -> bool:
                values, groups, _ = clips(draw, rooms, "normal")
                return rejects(without_seeds(estimate_mean(values + effect, groups)))

            yield Row(f"power, {effect:g} standard deviations between rooms", rooms, found)


def clips_like(draw: np.random.Generator, groups: Array, kind: str) -> Any:
    """Return scores with mean 0 of the same clips for a second model."""
    rooms, number = int(groups.max()) + 1, len(groups)
    if kind == "normal":
        return draw.normal(size=rooms)[groups] + draw.normal(size=number)
    if kind == "heavy tails":
        return draw.standard_t(3, rooms)[groups] + draw.standard_t(3, number)
    if kind == "skewed":
        values = np.exp(draw.normal(size=rooms))[groups] * np.exp(0.5 * draw.normal(size=number))
        return (values - math.exp(0.625)) * draw.uniform(0.5, 1.0, number)
    lost = draw.random(number) < draw.beta(0.5, 9.5, rooms)[groups]
    return (lost - 0.05) * draw.uniform(0.5, 1.0, number)


def rejects(estimate: Estimate) -> bool:
    return compare_with_zero(estimate, number=DRAWS).p_value < LEVEL


# ---- mAP

CLASSES = 6


def tagged(draw: np.random.Generator, rooms: int, gain: float = 1.2) -> tuple[Array, list[Array], Array]:
    """Return labels of clips, the logits of two equal models, and the rooms."""
    groups = np.repeat(np.arange(rooms), draw.integers(1, 31, rooms))
    size = (len(groups), CLASSES)
    rarity = np.linspace(-1.3, 0.3, CLASSES)
    labels = rarity + 1.5 * draw.normal(size=(rooms, CLASSES))[groups] + 0.7 * draw.normal(size=size) > 0
    logits = [
        gain * labels + 0.6 * draw.normal(size=(rooms, CLASSES))[groups] + 0.6 * draw.normal(size=size)
        for _ in range(2)
    ]
    return labels, logits, groups


def map_estimates(labels: Array, logits: list[Array], groups: Array) -> list[Estimate] | None:
    """Return the estimates of mAP; None where a class is in too few rooms, which changes the population value."""
    names = [str(room) for room in groups]
    found = []
    for one in logits:
        pooled = tagging_pooled(labels, one, "abcdef", ["head", "mid", "tail"] * 2, names, "standard")
        if pooled.notes:
            return None
        mean = pooled.metrics["map"]
        found.append(estimate_pooled(np.array([mean.estimate]), mean.without[None], len(groups)))
    return found


def pooled() -> Iterator[Row]:
    labels, logits, _ = tagged(np.random.default_rng(0), 4000)
    truth = float(average_precision(labels, logits[0]).mean())
    for rooms in (18, 30, 50):

        def once(draw: np.random.Generator, rooms: int = rooms) -> bool | None:
            estimates = map_estimates(*tagged(draw, rooms))
            return None if estimates is None else covers(interval_of(estimates[0], number=DRAWS), truth)

        def both(draw: np.random.Generator, rooms: int = rooms) -> bool | None:
            estimates = map_estimates(*tagged(draw, rooms))
            if estimates is None:
                return None
            return covers(interval_of(contrast((1, -1), estimates), number=DRAWS), 0.0)

        yield Row("coverage, mAP", rooms, once, 0.93)
        yield Row("coverage, difference of two mAPs", rooms, both, 0.93)


# ---- seeds


def probes(draw: np.random.Generator, rooms: int, seeds: int, spread: float, shift: float = 0.0) -> Array:
    """Return (S, G) scores of rooms: what probes add to what the features hold."""
    return shift + spread * draw.normal(size=(seeds, 1)) + 0.3 * draw.normal(size=(seeds, rooms))


def seeds() -> Iterator[Row]:
    for number in (3, 5):
        for spread in (0.0, 0.3, 1.0, 5.0):
            for rooms in (18, 50):

                def once(
                    draw: np.random.Generator, rooms: int = rooms, number: int = number, spread: float = spread
                ) -> bool:
                    features = draw.normal(size=rooms)
                    sides = [features + probes(draw, rooms, number, spread) for _ in range(2)]
                    a, b = paired_estimate(sides[0], sides[1], np.arange(rooms))
                    return rejects(contrast((1, -1), (a, b)))

                what = f"size, {number} seeds that differ by {spread:g} standard deviations between rooms"
                yield Row(what, rooms, once, 0.06, at_least=False)


# ---- layers chosen on the reported clips


def layers(draw: np.random.Generator, rooms: int, number: int) -> list[Estimate]:
    """Return estimates of layers that are all as good: clips of equal difficulty, and what each layer makes of them."""
    shared = draw.normal(size=rooms)
    return [
        without_seeds(estimate_mean(0.7 * shared + 0.7 * draw.normal(size=rooms), np.arange(rooms)))
        for _ in range(number)
    ]


def best(candidates: list[Estimate]) -> int:
    return int(np.argmax([candidate.value for candidate in candidates]))


def choices() -> Iterator[Row]:
    for number in (4, 12):
        for rooms in (18, 50):

            def once(draw: np.random.Generator, rooms: int = rooms, number: int = number) -> bool | None:
                candidates = layers(draw, rooms, number)
                return covers(interval_of_choice(candidates, best(candidates), number=DRAWS), 0.0)

            def both(draw: np.random.Generator, rooms: int = rooms, number: int = number) -> bool:
                a, b = layers(draw, rooms, number), layers(draw, rooms, number)
                return difference_of_choices(a, b, best(a), best(b), number=DRAWS).p_value < LEVEL

            yield Row(f"coverage, best of {number} layers", rooms, once, 0.95)
            yield Row(f"size, best of {number} layers of two models", rooms, both, 0.06, at_least=False)


# ---- a page

KIND, TASKS = 9, 3


def study(draw: np.random.Generator, rooms: int, twins: float = 0.0) -> tuple[bool, bool, float]:
    """Return whether the primary family errs, whether any finding does, and the share of models told from their twins.

    Models differ by as much as a third of the spread between rooms, their kinds by nothing.
    """
    primary: dict[str, float] = {}
    pairs: list[Estimate] = []
    for task in range(TASKS):
        difficulty = draw.normal(size=rooms)
        kinds = []
        for _ in range(2):
            liking = 0.3 * draw.normal(size=rooms)
            models = []
            for _ in range(KIND):
                level = 0.33 * draw.normal()
                own = difficulty + liking + level + 0.5 * draw.normal(size=rooms)
                twin = difficulty + level + 0.5 * draw.normal(size=rooms) + 0.3 * draw.normal(size=rooms)
                model = estimate_mean(own + probes(draw, rooms, 3, 0.05), np.arange(rooms))
                other = estimate_mean(twin + probes(draw, rooms, 3, 0.05, -twins), np.arange(rooms))
                models.append(model)
                pairs.append(contrast((1, -1), (model, other)))
            kinds.append(models)
        primary[str(task)] = compare_with_zero(contrast_of_kinds(*kinds), number=DRAWS).p_value
    corrected = holm(primary)
    told = max_t(pairs, number=DRAWS)
    first = min(corrected.values()) < LEVEL
    return first, first or bool(told.min() < LEVEL), float((told < LEVEL).mean())


def page() -> Iterator[Row]:
    for rooms in (18, 50):

        def first(draw: np.random.Generator, rooms: int = rooms) -> bool:
            return study(draw, rooms)[0]

        def any_finding(draw: np.random.Generator, rooms: int = rooms) -> bool:
            return study(draw, rooms)[1]

        def power(draw: np.random.Generator, rooms: int = rooms) -> bool:
            # the spread of the difference of a model and its twin between rooms, of which the effect is 1.2
            spread = math.sqrt(0.3**2 + 0.5**2 + 0.5**2 + 0.3**2 + 2 * 0.3**2 / 3)
            return bool(draw.random() < study(draw, rooms, 1.2 * spread)[2])

        yield Row("an error in the primary family", rooms, first, 0.05, at_least=False)
        yield Row("an error in any finding", rooms, any_finding, 0.10, at_least=False)
        yield Row("power, a twin 1.2 standard deviations behind", rooms, power, 0.65 if rooms == 18 else 0.95)


# ---- rates


def wilson(hits: int, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Wilson 1927)."""
    z, rate = 1.96, hits / number
    centre = (rate + z * z / (2 * number)) / (1 + z * z / number)
    half = z * math.sqrt(rate * (1 - rate) / number + z * z / (4 * number**2)) / (1 + z * z / number)
    return max(0.0, centre - half), min(1.0, centre + half)


def measured(row: Row, repeats: int, seed: int, bar: Progress) -> tuple[list[object], bool]:
    draw = np.random.default_rng([seed, row.rooms, sum(map(ord, row.what))])
    told = []
    for _ in range(repeats):
        told.append(row.once(draw))
        bar.advance()
    judged = [one for one in told if one is not None]
    rate = sum(judged) / len(judged)
    low, high = wilson(sum(judged), len(judged))
    missed = row.target is not None and (high < row.target if row.at_least else low > row.target)
    target = "" if row.target is None else f"{'>=' if row.at_least else '<='} {row.target:g}"
    verdict = "" if row.target is None else "missed" if missed else "holds"
    none = len(told) - len(judged)
    return [row.what, row.rooms, f"{rate:.3f}", f"{low:.3f} to {high:.3f}", target, verdict, none or ""], missed


def main(options: Options) -> int:
    """Simulate and print; returns 1 if a target is missed."""
    worst = 0
    for name in SECTIONS if options.only == "all" else (options.only,):
        rows = list({"means": means, "differences": differences, "pooled": pooled, "seeds": seeds, "choices": choices,
                     "page": page}[name]())  # fmt: skip
        repeats = max(options.repeats // (10 if name == "page" else 4 if name in ("pooled", "choices") else 1), 10)
        with Progress(len(rows) * repeats, name, "studies") as bar:
            found = [measured(row, repeats, options.seed, bar) for row in rows]
        title = f"{name}: {repeats} studies a row"
        print_table(title, ["what", "rooms", "rate", "95 %", "target", "", "not judged"], [cells for cells, _ in found])
        print()
        worst = max(worst, int(any(missed for _, missed in found)))
    return worst


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
