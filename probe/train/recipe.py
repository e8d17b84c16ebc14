"""How a probe trains: length, learning rates, batches, and what picks the checkpoint; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from configs.options import option

BUDGETS = ("steps", "epochs")
"""What runs on a share of the training clips can have in common with runs on all of them."""


def rescaled(fraction: float, budget: str | None, unit: str) -> bool:
    """Return whether a run on a share of the clips is longer or shorter than its recipe says for those clips.

    Only then is the budget part of what a run is. Version 0.2.0 never rescaled, and names no budget.

    Args:
        fraction: share of the training clips.
        budget: one of `BUDGETS`; None if it isn't recorded.
        unit: of the recipe's length.
    """
    return fraction < 1 and budget not in (None, unit)


@dataclass(frozen=True)
class RecipeConfig:
    """How long, how fast and on what a probe trains."""

    length: int = option(help="length of the training run", minimum=1)
    unit: str = option(help="unit of length and warm-up", choices=("epochs", "steps"))
    warmup: float = option(help="linear warm-up, in the same unit", minimum=0)
    lr: float = option(help="peak learning rate", minimum=0)
    weight_decay: float = option(help="AdamW weight decay", minimum=0)
    batch: int = option(help="clips per step and device", minimum=1)
    queries: int = option(help="queries per clip", minimum=1)
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

    def with_steps(self, steps: int) -> RecipeConfig:
        """Return the recipe with a length in steps, whatever the number of clips: few clips have short epochs."""
        warmup = self.warmup * (steps / self.length)
        return replace(self, warmup=warmup, length=steps, unit="steps", select_every=1)
