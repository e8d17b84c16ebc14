"""How a probe trains: length, rates and batches, and from them which clips a run sees at which step.

The order is a function of step, seed and recipe alone, cut into rounds. A round is what lies between two looks at the
selection split and two checkpoints: an epoch, or a tenth of a run whose length is given in steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.loading.feature_loader import epoch_order
from configs.errors import DatasetError
from configs.options import option

ROUNDS = 10
"""Rounds of a run whose length is given in steps."""


@dataclass
class RecipeConfig:
    """How long, how fast and on what a probe trains."""

    length: int = option(help="length of the training run", minimum=1)
    unit: str = option(help="unit of length and warm-up", choices=("epochs", "steps"))
    warmup: float = option(help="linear warm-up, in the same unit", minimum=0)
    lr: float = option(help="peak learning rate", minimum=0)
    weight_decay: float = option(help="AdamW weight decay", minimum=0)
    batch: int = option(help="clips per step and device", minimum=1)
    views: int = option(help="views per clip", minimum=1)
    final_lr: float = option(1e-6, "learning rate at the end of the cosine", minimum=0)
    betas: list[float] = option(help="AdamW momenta", factory=lambda: [0.9, 0.95], minimum=0, maximum=1)
    eps: float = option(1e-8, "AdamW epsilon", minimum=0)
    decay: str = option("standard", "paper: decay everything; standard: only matrices", choices=("paper", "standard"))
    grad_clip: float | None = option(1.0, "largest gradient norm, none for no clipping", minimum=0)
    precision: str = option("auto", "auto: bfloat16 where native", choices=("auto", "bf16-mixed", "float32"))
    seed: int = option(42, "seed of weights, order and pixel draws", minimum=0)
    select: str = option(help="logged value that picks the checkpoint")
    select_mode: str = option("min", "whether the least or the greatest value wins", choices=("min", "max"))
    select_every: int = option(1, "epochs between candidates for the checkpoint", minimum=1)


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
