"""Options of the tagging probe: head, loss and what `TaskOptions` holds; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from configs.errors import MissingError
from configs.files import sha256_file
from configs.options import option
from probe.net.config import FORMS
from probe.task import TaskOptions


@dataclass(frozen=True)
class TaggerConfig:
    """Query decoder."""

    width: int = option(help="channels of queries and decoder", minimum=1)
    layers: int = option(2, "decoder layers; 0 leaves only the evidence to distinguish clips", minimum=0)
    heads: int = option(8, "attention heads", minimum=1)
    mlp_ratio: int = option(4, "hidden width of the decoder's MLPs over its width", minimum=1)
    dropout: float = option(0.1, "dropout inside the decoder", minimum=0, maximum=1)
    class_queries: str = option("learned", "where class queries come from", choices=("learned", "embeddings"))
    evidence: str = option(
        "none",
        "max: add the greatest linear class score of any single token, so that small objects count",
        choices=("none", "max"),
    )
    class_embeddings: str | None = option(
        None, "file .npy or .safetensors with one row per class, for class_queries=embeddings"
    )


@dataclass(frozen=True)
class TaggingLossConfig:
    """Asymmetric loss (Ridnik et al. 2021)."""

    form: str = option("standard", "published or corrected formula", choices=FORMS)
    gamma_negative: float = option(4.0, "focusing exponent of absent classes", minimum=0)
    gamma_positive: float = option(0.0, "focusing exponent of present classes", minimum=0)
    clip: float = option(0.0, "probability shift of absent classes, paper form only", minimum=0, maximum=1)


@dataclass(frozen=True)
class TaggingOptions(TaskOptions):
    """Which classes a clip shows."""

    head: TaggerConfig = field(default_factory=TaggerConfig)
    loss: TaggingLossConfig = field(default_factory=TaggingLossConfig)

    def contents(self) -> dict[str, str]:
        """Return the digest of the file of class embeddings, if the queries come from one."""
        if self.head.class_queries != "embeddings" or not self.head.class_embeddings:
            return {}
        path = Path(self.head.class_embeddings)
        if not path.is_file():
            raise MissingError("no such file of class embeddings", where=path, fix="set head.class_embeddings=FILE")
        return {"class_embeddings": sha256_file(path)}

    def for_code(self) -> Self:
        """Return the same options with the plain log loss: both gammas 0."""
        return replace(self, loss=replace(self.loss, form="standard", gamma_negative=0.0, gamma_positive=0.0))
