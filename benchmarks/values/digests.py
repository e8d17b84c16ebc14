"""Digests of everything below an artifact root, by readable names: the only place that knows its files.

Values are read with tensorstore, zarr, torch and pyarrow. A name leads from the group to the value
(`features/pixels/pixels.16x16/room00003`); names that are derived from configurations (run ids, fingerprints) never
appear in it. The same value has the same digest wherever it lies, so that a renamed column or file can be recognised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import tensorstore
import torch
import zarr
from PIL import Image

Digests = dict[str, str]

# What no two runs have in common.
CIRCUMSTANCES = {
    "seconds", "extract_seconds", "probe_seconds", "finished_at", "committed_at", "versions", "device",
    "extract_device", "host", "pid", "probes_in_pass", "record_sha256",
    "store_bytes",  # records of clips hold seconds, whose digits vary
    "digest", "files",  # of a run: they cover seconds and versions too; what is in the files is compared by itself
    "config",  # of a table: a digest of a run's configuration, which names the artifact root
}  # fmt: skip
# What is derived from configurations, commands and code: it may change while every value stays. Below `identities/`.
IDENTITIES = {
    "run_id", "runs", "control_of", "setting", "entry", "board", "cell", "value_cell", "control_cell", "store",
    "dataset_parameters", "command", "extract_command", "format",
}  # fmt: skip
# Files of a store whose bytes no two runs have in common. Leases and unfinished files are left out; the others are read
# and compared without host, process, seconds and time of day (commits, manifest), the manifest's digest and folders
# of parents (store.json and its copy), and the digests of themselves.
VOLATILE = ("leases", "tmp", "commits", "backup/store.json", "store.json", "manifest.parquet")
# Rows are sorted by these columns, since their order in the files may follow run ids.
ROW_KEYS = (
    "task",
    "dataset",
    "profile",
    "source",
    "a_source",
    "b_source",
    "control_source",
    "array",
    "metric",
    "split",
)


class NothingFound(Exception):
    """A group of values is empty: files have moved, and this module must follow."""


def digest(value: object) -> str:
    """SHA-256 of a value in canonical form: bytes, an array with dtype and shape, or anything JSON can hold."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, torch.Tensor):
        value = value.view(torch.uint16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray):
        head = f"{value.dtype.name} {value.shape}\n".encode()
        return hashlib.sha256(head + np.ascontiguousarray(value).tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def everything(root: Path) -> Digests:
    """Digests of all groups."""
    found: Digests = {}
    for group in (_datasets, _features, _store_bytes, _probes, report_tables):
        count = len(found)
        for name, value in group(root):
            if name in found:
                raise ValueError(f"two values are called {name}, and one would hide the other")
            found[name] = value
        if len(found) == count:
            raise NothingFound(
                f"{group.__name__} finds nothing below {root}\n  fix: let it look elsewhere, in {__file__}"
            )
    return found


def report_tables(root: Path, group: str = "report") -> Iterator[tuple[str, str]]:
    """Columns of the report's tables."""
    for path in sorted(root.glob("report/tables/*.parquet")):
        yield from _table(path, f"{group}/{path.stem}")


def find_run(root: Path, task: str) -> str:
    """Return the id of the smoke probe of a task."""
    for result in _results(root):
        if result["task"] == task and result["profile"] == "smoke":
            return str(result["run_id"])
    raise NothingFound(f"no smoke probe of task {task} below {root}")


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _table(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """One digest per column, rows in canonical order."""
    rows = pyarrow.parquet.read_table(path).to_pylist()
    columns = list(pyarrow.parquet.read_schema(path).names)
    kept = [column for column in columns if not _is(column, CIRCUMSTANCES) and not _is(column, IDENTITIES)]
    keys = [column for column in ROW_KEYS if column in kept]
    rows.sort(key=lambda row: [str(row[column]) for column in keys] + [str([row[column] for column in sorted(kept)])])
    for column in columns:
        if not _is(column, CIRCUMSTANCES):
            place = "identities/" if _is(column, IDENTITIES) else ""
            yield f"{place}{name}/{column}", digest([row[column] for row in rows])


def _is(column: str, names: set[str]) -> bool:
    """Whether a column, or the last part of its dotted name, is among some names."""
    return column.rpartition(".")[2] in names


def _datasets(root: Path) -> Iterator[tuple[str, str]]:
    """Tables, frozen queries, and per clip frames, dense ground truth and records."""
    for folder in sorted(root.glob("datasets/*")):
        for path in (folder / name for name in ("index.parquet", "frames.parquet", "instances.parquet")):
            yield from _table(path, f"dataset/{path.stem}")
        for path in sorted(folder.glob("queries/*.json")):
            yield from _plan(path, f"dataset/queries/{path.stem.partition('.')[0]}")
        for name in ("dataset.json", "report.json"):
            yield (
                f"dataset/{name}",
                digest({key: value for key, value in _json(folder / name).items() if key != "digest"}),
            )
        for clip in sorted(folder.glob("clips/*")):
            name = f"dataset/clips/{clip.name}"
            yield f"{name}/frames", digest(b"".join(path.read_bytes() for path in sorted(clip.glob("frames/*.jpg"))))
            group = zarr.open_group(str(clip / "gt.zarr"), mode="r")
            for array in sorted(group.array_keys()):
                values = zarr.open_array(str(clip / "gt.zarr" / array), mode="r")[...]
                yield f"{name}/{array}", digest(np.asarray(values))
            for path in (clip / "clip.json", clip / "frames.parquet"):
                yield f"{name}/{path.name}", digest(path.read_bytes())


def _plan(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """One digest per column of a query plan as a table of clips and draws, sorted."""
    rows = [
        {"clip_id": clip_id, "draw": draw, "split": row["split"], "queries": queries}
        for clip_id, row in sorted(_json(path)["clips"].items())
        for draw, queries in enumerate(row["queries"])
    ]
    for column in rows[0]:
        yield f"{name}/{column}", digest([row[column] for row in rows])


def _stores(root: Path) -> Iterator[tuple[str, Path]]:
    """Feature stores by name; several of one source are numbered in the order of their arrays."""
    for source in sorted(root.glob("features/*/*")):
        stores = sorted((path.parent for path in source.glob("*/store.json")), key=lambda path: str(_arrays(path)))
        for number, store in enumerate(stores):
            yield source.name + (f"-{number + 1}" if number else ""), store


def _arrays(store: Path) -> list[str]:
    return sorted(path.parent.name for path in store.glob("features.zarr/*/zarr.json"))


def _features(root: Path) -> Iterator[tuple[str, str]]:
    """Decoded values of every array and committed clip, and the statistics kept beside them."""
    for source, store in _stores(root):
        yield f"identities/stores/{source}", digest(_json(store / "store.json")["fingerprint"])
        clips = pyarrow.parquet.read_table(store / "clips.parquet").to_pylist()
        committed = {int(path.name.partition(".")[0]) for path in store.glob("commits/*.json")}
        for name in _arrays(store):
            place = {"driver": "file", "path": str(store / "features.zarr" / name)}
            array = tensorstore.open({"driver": "zarr3", "kvstore": place}, read=True).result()
            for row in clips:
                if row["clip"] in committed:
                    value = array[row["clip"]].read().result()
                    yield f"features/{source}/{name}/{row['clip_id']}", digest(np.asarray(value))


def _store_bytes(root: Path) -> Iterator[tuple[str, str]]:
    """Bytes of all files of one store of a model and of one written by a fusion."""
    stores = dict(_stores(root))
    for source in ("qwen3-vl-2b-tiny-random", "pixels+position@pca"):
        store = stores[source]
        for path in sorted(path for path in store.rglob("*") if path.is_file()):
            place = path.relative_to(store)
            if place.parts[0] not in VOLATILE and str(place) not in VOLATILE:
                yield f"bytes/{source}/{place}", digest(path.read_bytes())
        for path in sorted(store.glob("commits/*.json")):
            record = {key: value for key, value in _json(path).items() if key not in ("run", "digest")}
            yield f"bytes/{source}/commits/{path.name}", digest(record)
        for name in ("store.json", "backup/store.json"):
            record = json.loads((store / name).read_text().replace(str(root.resolve()), "<root>"))
            record["files"].pop("manifest.parquet", None)
            record.pop("digest")
            yield f"bytes/{source}/{name}", digest(record)
        yield from _table(store / "manifest.parquet", f"bytes/{source}/manifest")


def _results(root: Path) -> list[dict[str, Any]]:
    return [_json(path) for path in sorted(root.glob("results/*.json"))]


def _probes(root: Path) -> Iterator[tuple[str, str]]:
    """Per run: scores, weights, the log of training, tables, pictures and later evaluations."""
    for result in _results(root):
        name = f"{result['task']}-{result['profile']}/{result['source']}/{result['array']}/seed{result['seed']}"
        name = f"probes/{name}" + (f" {result['control']}" if result["control"] else "")
        for key, value in result.items():
            if key == "config":
                yield f"identities/{name}/config", digest({**value, "root": "<root>"})
            elif key in CIRCUMSTANCES:
                continue
            elif key in IDENTITIES:
                yield f"identities/{name}/{key}", digest(value)
            elif key in ("select", "report"):
                for metric, score in value.items():
                    yield f"{name}/{key}/{metric}", digest(score)
            else:
                yield f"{name}/{key}", digest(value)
        folder = root / "runs" / result["run_id"]
        for which in ("best", "last"):
            weights = torch.load(folder / f"{which}.ckpt", map_location="cpu", weights_only=True)["weights"]
            tensors = {tensor: digest(value) for tensor, value in weights.items()}
            if result["profile"] == "smoke":
                for tensor, value in tensors.items():
                    yield f"{name}/{which}/{tensor}", value
            else:  # one digest for all, whatever tensors are called: there are many of these runs
                yield f"{name}/{which} weights", digest(sorted(tensors.values()))
        yield f"{name}/log", digest([json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()])
        for path in (folder / "clips.parquet", folder / "predictions.parquet"):
            yield from _table(path, f"{name}/{path.stem}")
        for path in sorted(folder.glob("pictures/*.png")):
            with Image.open(path) as image:
                yield f"{name}/pictures/{path.name}", digest(np.asarray(image))
        for path in sorted(folder.glob("points/*.ply")):
            yield f"{name}/points/{path.name}", digest(path.read_bytes())
        for path in sorted(folder.glob("evaluations/*.json")):
            evaluation = _json(path)
            for metric, score in evaluation["metrics"].items():
                yield f"{name}/evaluation {evaluation['split']} {evaluation['plan']}/{metric}", digest(score)
