"""What a prepared dataset was made from, kept in dataset.json: written once, compared ever after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.errors import StaleError
from configs.identity import differences, digest, plain
from data.dataset.clip import DatasetInfo
from data.dataset.files import json_bytes, read_json, write_once
from data.dataset.layout import CONVENTIONS, FORMAT, VERSION, check_version

COMPARED = ("kind", "maker_version", "parameters", "splits", "taxonomy", "class_names", "units")
"""Fields that change a value. The name and the licence note may differ."""


def identity_record(info: DatasetInfo, splits: dict[str, Any]) -> dict[str, Any]:
    """Return the content of dataset.json.

    Args:
        info: what the source says of itself.
        splits: parameters of the split: `select`, `report`, `salt`.
    """
    record: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": info.name,
        "kind": info.kind,
        "maker_version": info.maker_version,
        "parameters": plain(dict(info.parameters)),
        "splits": plain(splits),
        "taxonomy": info.taxonomy,
        "class_names": list(info.class_names),
        "licence": info.licence,
        "units": info.units,
        "conventions": CONVENTIONS,
    }
    record["parameters_sha256"] = digest({key: record[key] for key in COMPARED})
    return record


def read_identity(dataset: Path) -> dict[str, Any]:
    """Return dataset.json of a prepared dataset.

    Raises:
        MissingError: no dataset there.
        DatasetError, VersionError: not ours, or of a newer version.
        CorruptionError: it can't be read, or its digest does not fit its content.
    """
    from configs.errors import CorruptionError

    path = dataset / "dataset.json"

    def how_to_make() -> str:
        from data.prepare import sources

        return sources.how_to_make(dataset.name)

    record = read_json(path, fix=how_to_make)
    check_version(record, path)
    expected = digest({key: record.get(key) for key in COMPARED})
    if record.get("parameters_sha256") != expected:
        raise CorruptionError("dataset.json was changed by hand or damaged", where=path, fix="restore it from a copy")
    return record


def claim_identity(dataset: Path, record: dict[str, Any]) -> None:
    """Write dataset.json if it is not there, else check that it says the same.

    Raises:
        StaleError: the dataset was made from other parameters; the message lists each difference.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    if not write_once(dataset / "dataset.json", json_bytes(record)):
        check_identity(dataset, record)


def check_identity(dataset: Path, record: dict[str, Any]) -> None:
    """Compare with the dataset.json that is there.

    Raises:
        StaleError: the dataset was made from other parameters; the message lists each difference.
    """
    found = read_identity(dataset)
    changed = [d for key in COMPARED for d in differences(found.get(key), record[key], key)]
    if changed:
        raise StaleError(
            "this dataset was prepared with other parameters (on disk -> asked for):\n    "
            + "\n    ".join(str(d) for d in changed),
            where=dataset,
            fix="ask for the old parameters, choose another name with name=..., or remove the folder",
        )
