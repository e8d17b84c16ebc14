"""The options of `spatialprobe cache similarity`."""

from __future__ import annotations

import dataclasses

from cache.similarity.names import MEASURES, POOLS
from configs.cli import RootConfig, Verb
from configs.options import option


@dataclasses.dataclass(frozen=True)
class SimilarityConfig(RootConfig):
    """Options of `similarity`."""

    a: str | None = option(None, "a source, such as wan-t2v-14b, or <source>:<array>; wildcards in the array's name")
    b: str | None = option(None, "what to compare it with, in the same form; default: the arrays of a= with each other")
    model: list[str] = option(
        help="instead of a= and b=: several of these, to compare all their arrays with each other", factory=list
    )
    dataset: str | None = option(None, "name of the prepared dataset; default: the only one that a source has")
    stores: list[str] = option(
        help="for each source the first digits of its store's fingerprint, if it has several", factory=list
    )
    measures: list[str] = option(
        help="what to compute; massive activations hardly move the robust ones",
        choices=MEASURES,
        factory=lambda: list(MEASURES),
    )
    pool: str = option("row", "a sample: mean of a row's cells, mean of a clip's cells, or single cells", choices=POOLS)
    cells: int = option(4, "random cells of each row with pool=cell, at the same places in all arrays", minimum=1)
    batch: int = option(32, "clips that are compared at a time; memory grows with its square", minimum=4)
    permutations: int = option(200, "random pairings of rooms for the band; 0 for none", minimum=0)
    seed: int = option(0, "of batches, pairings and cells", minimum=0)
    out: str | None = option(None, "also write all values and bands to this .json or .parquet file")
    workers: int = option(0, "processes on this machine; 0: one per core", minimum=0)
    cluster: str = option("local", "local, or tcp://host:port of a running Dask scheduler")


def _similarity(config: SimilarityConfig) -> None:
    from cache.similarity.samples import Sampling
    from cache.similarity.stream import Settings
    from spatialprobe.similarity import run

    sampling = Sampling(config.pool, config.cells, config.seed)
    measures = tuple(dict.fromkeys(config.measures))
    settings = Settings(measures, sampling, config.batch, config.permutations, config.seed)
    selection = run.Selection(config.root, config.dataset, config.a, config.b, config.model, config.stores)
    run.compare(selection, settings, config.out, config.workers, config.cluster)


VERBS = (
    Verb(
        "similarity", "compare the features of two sources: CKA and RSA", SimilarityConfig, _similarity,
        words=("a", "b"),
    ),
)  # fmt: skip
