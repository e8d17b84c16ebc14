"""Which clips a run sees at which step.

The order is a function of step, seed and recipe alone, cut into rounds. A round is what lies between two looks at the
selection split and two checkpoints: an epoch, or a tenth of a run whose length is given in steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from cache.loading.feature_loader import epoch_order
from configs.errors import DatasetError
from probe.train.recipe import RecipeConfig

ROUNDS = 10
"""Rounds of a run whose length is given in steps."""


class Schedule:
    """Steps, rounds and samples of a run.

    Args:
        clip_ids: training clips.
        recipe: length, unit and batch size.
        seed: of the order.

    Raises:
        DatasetError: no clips.
    """

    def __init__(self, clip_ids: Sequence[str], recipe: RecipeConfig, seed: int) -> None:
        if not clip_ids:
            raise DatasetError("no clips to train on")
        self.clip_ids, self.seed = list(clip_ids), seed
        self.batch = min(recipe.batch, len(clip_ids))
        self.per_epoch = len(clip_ids) // self.batch
        in_epochs = recipe.unit == "epochs"
        self.total_steps = recipe.length * self.per_epoch if in_epochs else recipe.length
        self.rounds = recipe.length if in_epochs else min(ROUNDS, recipe.length)

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
