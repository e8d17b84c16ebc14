"""What helps with a file of another version: a newer one is worth an update, never deleted."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch

from configs.errors import SpatialprobeError, VersionError, version_fix
from configs.files import read_sealed, sealed_json
from data.dataset.clip_files import read_clip_record
from data.dataset.layout import VERSION
from data.dataset.queries import load_plan, plan_file
from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from probe.results import results
from probe.train.run_folder import FORMAT, load_checkpoint
from tests.data.toy import Shape, ToySource


def test_only_newer_versions_ask_for_an_update() -> None:
    assert "update spatialprobe" in version_fix(3, 2, "delete it")
    assert version_fix(1, 2, "delete it") == version_fix("?", 2, "delete it") == "delete it"


def fix_of(error: SpatialprobeError) -> str:
    assert isinstance(error, VersionError)
    return str(error.fix)


@pytest.mark.parametrize(("version", "newer"), [(VERSION + 1, True), (VERSION - 1, False)])
def test_records_of_a_dataset(tmp_path: Path, version: int, newer: bool) -> None:
    folder = tmp_path / "datasets" / "toy"
    prepare(ToySource({"one": Shape(query_only=True)}), folder, plans=("paper-2",), workers=1)
    dataset = PreparedDataset(folder)
    for path, read in (
        (folder / "clips" / "one" / "clip.json", lambda: read_clip_record(folder, "one")),
        (plan_file(dataset, "paper-2"), lambda: load_plan(dataset, "paper-2")),
    ):
        path.write_bytes(sealed_json({**read_sealed(path, fix=""), "version": version}))
        with pytest.raises(VersionError) as caught:
            read()
        assert ("update spatialprobe" in fix_of(caught.value)) == newer
        assert ("delete" in fix_of(caught.value)) == (not newer)


@pytest.mark.parametrize(("version", "newer"), [(results.FORMAT + 1, True), (results.FORMAT - 1, False)])
def test_results(tmp_path: Path, version: int, newer: bool) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(sealed_json({"format": version}))
    with pytest.raises(VersionError) as caught:
        results.read_sealed(path, "delete it")
    assert ("update spatialprobe" in fix_of(caught.value)) == newer


@pytest.mark.parametrize(("version", "newer"), [(FORMAT + 1, True), (FORMAT - 1, False)])
def test_checkpoints(tmp_path: Path, version: int, newer: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"format": version}, buffer)
    content = buffer.getvalue()[:-2] + (64).to_bytes(2, "little")  # the length of the archive's comment
    path = tmp_path / "best.ckpt"
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(VersionError) as caught:
        load_checkpoint(path, "0" * 16)
    assert ("update spatialprobe" in fix_of(caught.value)) == newer
