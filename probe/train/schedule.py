"""Which clips a run sees at which step.

The order is a function of step, seed and recipe alone, cut into rounds. A round is what lies between two looks at the
selection split and two checkpoints: an epoch, or a tenth of a run whose length is given in steps.

Runs on a share of the clips take as many steps as those on all of them (`data_budget=steps`), so that a data curve
compares amounts of data and not lengths of training; a round is then an epoch of all clips. With `data_budget=epochs`
they see each clip as often, and take fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from cache.loading.feature_loader import epoch_order
from configs.errors import DatasetError
from probe.config import RunConfig
from probe.inputs.inputs import Inputs
from probe.train.recipe import RecipeConfig

ROUNDS = 10
"""Rounds of a run whose length is given in steps."""


class Schedule:
    """Steps, rounds and samples of a run.

    Args:
        clip_ids: training clips.
        recipe: length, unit and batch size.
        seed: of the order.
        whole: number of clips that they are a share of; 0 if they are all.
        budget: what a run on a share has in common with one on all, see `probe.train.recipe.BUDGETS`.

    Raises:
        DatasetError: no clips.
    """

    def __init__(
        self, clip_ids: Sequence[str], recipe: RecipeConfig, seed: int, *, whole: int = 0, budget: str = "steps"
    ) -> None:
        if not clip_ids:
            raise DatasetError("no clips to train on")
        self.clip_ids, self.seed = list(clip_ids), seed
        self.batch = min(recipe.batch, len(clip_ids))
        self.per_epoch = len(clip_ids) // self.batch
        whole = whole or len(clip_ids)
        of_all = whole // min(recipe.batch, whole)
        if recipe.unit == "epochs":
            self.total_steps = recipe.length * (of_all if budget == "steps" else self.per_epoch)
            self.rounds = recipe.length
        else:
            scaled = max(1, round(recipe.length * self.per_epoch / of_all))
            self.total_steps = recipe.length if budget == "steps" else scaled
            self.rounds = min(ROUNDS, self.total_steps)

    def first_step(self, round_: int) -> int:
        """Return the number of the first step of a round; `rounds` gives the total."""
        return round_ * self.total_steps // self.rounds

    def samples(self, round_: int) -> list[tuple[str, int]]:
        """Return (clip id, epoch) of all samples of a round, batch after batch; every batch is full."""
        chosen: list[tuple[str, int]] = []
        for step in range(self.first_step(round_), self.first_step(round_ + 1)):
            epoch, place = divmod(step, self.per_epoch)
            order = epoch_order(len(self.clip_ids), self.seed, epoch, True)
            part = order[place * self.batch : (place + 1) * self.batch]
            chosen += [(self.clip_ids[int(i)], epoch) for i in part]
        return chosen


def schedule_of(config: RunConfig, inputs: Inputs) -> Schedule:
    """Return the schedule of the runs of a resolved configuration on their inputs."""
    how, recipe = config.how, config.probe.recipe
    whole = len(inputs.dataset.split("train", how.split_scheme)) if how.fraction < 1 else 0
    return Schedule(inputs.train, recipe, how.data_seed, whole=whole, budget=how.data_budget)
