"""Training clips, as the index of a prepared dataset names them; fits look at no others."""

from __future__ import annotations

import os
from collections.abc import Sequence

from configs.errors import DatasetError, MissingError
from configs.paths import dataset_path


def clip_splits(root: str | os.PathLike[str] | None, dataset: str) -> dict[str, str]:
    """Return clip id -> split of a prepared dataset.

    Raises:
        MissingError: the dataset is not prepared below this root.
        DatasetError: its index can't be read.
    """
    import pandas as pd
    import pyarrow as pa

    path = dataset_path(root, dataset) / "index.parquet"
    if not path.is_file():
        raise MissingError(
            "the dataset that names the training clips is not there",
            expected=path,
            fix=f"python -m data prepare dataset=<kind> name={dataset}, or give the training clips themselves",
        )
    try:
        table = pd.read_parquet(path, columns=["clip_id", "split"])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DatasetError(
            f"not a readable index of clips: {error}", where=path, fix=f"python -m data verify dataset={dataset}"
        ) from None
    return {str(clip): str(split) for clip, split in zip(table["clip_id"], table["split"], strict=True)}


def training_clips(root: str | os.PathLike[str] | None, dataset: str, given: Sequence[str] | None = None) -> list[str]:
    """Return the training clips of a dataset, sorted, or those given after a check.

    Args:
        root: artifact root.
        dataset: name of the prepared dataset.
        given: clips that the caller trains on; None takes the split `train`.

    Raises:
        DatasetError: a given clip is held out: what is fitted on it would leak into the scores.
        MissingError: the dataset is not prepared, and none were given.
    """
    if given is None:
        splits = clip_splits(root, dataset)
        return sorted(clip_id for clip_id, split in splits.items() if split == "train")
    if (dataset_path(root, dataset) / "index.parquet").is_file():
        splits = clip_splits(root, dataset)
        held = sorted(clip_id for clip_id in set(given) if splits.get(clip_id, "train") != "train")
        if held:
            raise DatasetError(
                f"{len(held)} of the training clips are held out for validation or test",
                expected="only clips of split train",
                found=", ".join(f"{clip_id} ({splits[clip_id]})" for clip_id in held[:6]),
                where=dataset_path(root, dataset),
                fix="leave train_clips out, or list clips of split train",
            )
    return sorted(set(given))
