"""`spatialprobe cache similarity` as it is typed: what is compared, what is printed and written, what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cache.similarity import table
from cache.similarity.samples import Layer
from cache.similarity.stream import Settings, similarity
from fusion.opening import open_source
from spatialprobe.command import main
from tests.fusion.lab import Lab, spec_of


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "root")
    made.dataset()
    made.store("vgm", spec_of("dit", block=10, grid=(6, 8)), spec_of("dit", block=20, grid=(6, 8), rows=10))
    made.store("vlm", spec_of("llm", block=22, channels=8))
    return made


def run(lab: Lab, *words: str) -> int:
    return main(["cache", "similarity", *words, f"root={lab.root}", "workers=1"])


def test_a_pair_is_printed_and_written(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    out = lab.root / "new" / "pair.json"
    assert run(lab, "vgm:dit.b10.6x8", "vlm", f"out={out}", "permutations=40") == 0
    text = capsys.readouterr().out
    assert "similarity on toy: 5 clips of 3 rooms, 100 samples (row) in 1 batches" in text
    for part in (
        "robust CKA",
        "RSA",
        "vgm:dit.b10.6x8",
        "vlm:llm.b22.4x6",
        "95 % of random pairings",
        f"written: {out}",
    ):
        assert part in text
    assert "a batch holds 3 rooms only" in text
    document = json.loads(out.read_text(encoding="utf-8"))
    assert (document["clips"], document["rooms"], document["pool"], document["cells"]) == (5, 3, "row", None)
    assert [row["measure"] for row in document["pairs"]] == ["cka", "cka_robust", "rsa", "rsa_robust"]
    for row in document["pairs"]:
        assert (row["a"], row["a_block"], row["b"], row["b_block"]) == ("vgm", 10, "vlm", 22)
        assert len(row["a_store"]) == 64 and row["low"] <= row["high"] and 0 < row["p_value"] <= 1


def test_all_layers_of_several_models(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    out = lab.root / "all.parquet"
    assert run(lab, "model=vgm,vlm", "dataset=toy", f"out={out}", "measures=cka,rsa", "pool=cell", "cells=2") == 0
    assert "100 samples (cell)" in capsys.readouterr().out  # 10 rows, since two frames share one in a layer
    written = pq.read_table(out)
    assert json.loads(written.schema.metadata[b"spatialprobe"])["cells"] == 2
    rows = written.to_pylist()
    assert len(rows) == 3 * 3 * 2
    same = [row["value"] for row in rows if (row["a"], row["a_array"]) == (row["b"], row["b_array"])]
    np.testing.assert_allclose(same, 1, atol=1e-9)


def test_one_source_is_compared_with_itself(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lab, "a=vgm", "permutations=0") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("vgm:")]
    assert len(lines) == 4 and [line[2] for line in lines].count("1") == 2
    assert all(line[3] == "-" for line in lines)  # no band


def test_many_pairs_are_printed_as_matrices(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_PAIRS", 3)
    assert run(lab, "model=vgm,vlm", "measures=rsa", "permutations=0") == 0
    text = capsys.readouterr().out
    assert "\nRSA\n" in text and "out=<file> keeps the bands" in text and "columns" in text


@pytest.mark.parametrize("name", ["vgm@zscore:dit.b10*", "vgm+vlm@concat"])
def test_fused_sources_are_read_as_others(lab: Lab, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lab, f"a={name}", "b=vlm", "dataset=toy", "permutations=0") == 0, capsys.readouterr().err
    view = open_source(lab.root, "toy", name.partition(":")[0])
    assert pickle.loads(pickle.dumps(view)).fingerprint_digest == view.fingerprint_digest  # for other processes


def test_features_of_an_earlier_dataset_are_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.dataset(content="changed")
    assert run(lab, "vgm", "vlm") == 1
    assert "5 of 5 clips differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "nothing to compare"),
        (("b=vlm",), 2, "unclear what to compare"),
        (("a=vgm", "model=vlm"), 2, "unclear what to compare"),
        (("vgm", "vlm", "out=x.csv"), 2, "out=<name>.json or <name>.parquet"),
        (("vgm", "vlm", "stores=a,b,c"), 2, "stores takes one entry per source"),
        (("vgm", "vlm", "measures=cca"), 2, "did you mean cka?"),
        (("vgm", "vlm", "batch=2"), 2, "batch"),
        (("vgm", "vlmm"), 1, "no feature store"),
        (("vgm:dit.b11.6x8", "vlm"), 1, "did you mean dit.b10.6x8"),
        (("vgm", "vlm", "stores=fff"), 1, "fff"),
    ],
)
def test_wrong_words(
    lab: Lab, words: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lab, *words) == code
    assert message in capsys.readouterr().err
    assert not Path("x.csv").exists()


def test_numbers_that_are_not_defined_are_null(lab: Lab, tmp_path: Path) -> None:
    flat = lab.store("flat", spec_of("dit", channels=1), clips=None)
    found = similarity([Layer(flat, "dit.b21.4x6")], [Layer(flat, "dit.b21.4x6")], Settings(permutations=2))
    row = next(row for row in table.rows_of(found) if row["measure"] == "rsa")  # one channel has no correlation
    assert row["value"] is None and row["low"] is None and row["p_value"] is None
    path = table.write(found, str(tmp_path / "x.json"))
    assert "NaN" not in path.read_text(encoding="utf-8")
    table.show(found)
