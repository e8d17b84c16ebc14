"""The baseline of values: what its comparison notices, what it forgives, and when it refuses."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.values.__main__ import machine, main
from benchmarks.values.comparison import compare, summary
from benchmarks.values.digests import NothingFound, digest, everything, report_tables

ROOT = Path(__file__).parents[2]
BEFORE = {"features/pixels/clip0": "a", "features/pixels/clip1": "b", "probes/tagging/score": "c"}


def baseline(path: Path, digests: dict[str, str], **facts: str) -> str:
    path.write_text(json.dumps({"machine": machine() | facts, "commit": "0" * 40, "digests": digests}))
    return str(path)


def outcome(folder: Path, after: dict[str, str], *options: str, **facts: str) -> int:
    before = baseline(folder / "before.json", BEFORE)
    return main(["compare", before, baseline(folder / "after.json", after, **facts), *options])


def test_equal_files_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(tmp_path, BEFORE) == 0
    assert "total: 3 equal, 0 renamed, 0 different, 0 missing, 0 new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"features/pixels/clip1": "x"}, "  different features/pixels/clip1"),
        ({"features/pixels/clip1": None}, "  missing   features/pixels/clip1"),
        ({"features/pixels/clip2": "x"}, "  new       features/pixels/clip2"),
        # A value that turns up in another group is another value.
        ({"features/pixels/clip1": None, "probes/tagging/loss": "b"}, "  missing   features/pixels/clip1"),
        # One new name stands for one old name.
        ({"features/pixels/clip1": None, "features/a/x": "b", "features/a/y": "b"}, "  new       features/a/y"),
    ],
)
def test_a_change_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str | None], line: str
) -> None:
    after = {name: value for name, value in (BEFORE | change).items() if value is not None}
    assert outcome(tmp_path, after) == 1
    printed = capsys.readouterr().out.splitlines()
    assert line in printed
    assert "probes/tagging: 1 equal" in [group.partition(",")[0] for group in printed]


def test_a_value_under_another_name_is_still_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = {f"features/renamed/{name[-5:]}": value for name, value in BEFORE.items() if value != "c"}
    assert outcome(tmp_path, after | {"probes/tagging/score": "c"}) == 0
    assert "  renamed   features/pixels/clip0 -> features/renamed/clip0" in capsys.readouterr().out


def test_long_lists_are_cut() -> None:
    names = {f"features/pixels/clip{number}": "a" for number in range(9)}
    assert "  missing   and 3 more" in summary(compare(names, {})).splitlines()


def test_ignored_names_do_not_count(tmp_path: Path) -> None:
    assert outcome(tmp_path, BEFORE | {"probes/tagging/score": "x"}, "ignore=probes/") == 0
    assert outcome(tmp_path, BEFORE | {"probes/tagging/score": "x"}, "ignore=bytes/") == 1


def test_unlike_machines_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(tmp_path, BEFORE, processor="abacus") == 2
    assert "abacus" in (error := capsys.readouterr().err) and "machine=any" in error
    assert outcome(tmp_path, BEFORE, "machine=any", processor="abacus") == 0
    # Before it runs anything.
    assert main(["compare", baseline(tmp_path / "other.json", BEFORE, torch="0.1")]) == 2


@pytest.mark.parametrize("words", [["write"], ["compare"], ["print", "x"], ["write", "x", "works=y"]])
def test_wrong_command_lines_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_files_that_are_no_baseline_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.json").write_text("[]")
    assert main(["compare", str(tmp_path / "list.json"), str(tmp_path / "list.json")]) == 2
    assert main(["compare", str(tmp_path / "none.json"), str(tmp_path / "none.json")]) == 2
    assert "fix: python -m benchmarks.values write" in capsys.readouterr().err


def test_results_of_another_run_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    assert main(["write", str(tmp_path / "new.json"), f"work={tmp_path}"]) == 2
    assert not (tmp_path / "new.json").exists()


def test_an_empty_folder_is_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(NothingFound):
        everything(tmp_path)


def test_digests_see_bits_dtype_and_shape() -> None:
    values = np.array([[0.0, 1.0]], np.float32)
    others = [values.T, values.astype(np.float64), np.array([[-0.0, 1.0]], np.float32), values + 1e-7]
    assert len({digest(value) for value in (values, *others)}) == 5
    assert digest(values) == digest(torch.from_numpy(values)) == digest(np.asfortranarray(values))
    assert digest(torch.tensor([1.0]).bfloat16()) != digest(torch.tensor([1.0078125]).bfloat16())


def test_tables_leave_out_circumstances_and_the_order_of_ids(tmp_path: Path) -> None:
    rows = [("b1", "pixels", 0.5, 3.0), ("a2", "oracle", 0.25, 4.0)]

    def tables(rows: list[tuple[str, str, float, float]]) -> dict[str, str]:
        (tmp_path / "report" / "tables").mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame(rows, columns=["run_id", "source", "value", "seconds"])
        frame.sort_values("run_id").to_parquet(tmp_path / "report" / "tables" / "scores.parquet")
        return dict(report_tables(tmp_path))

    before = tables(rows)
    assert sorted(before) == ["identities/report/scores/run_id", "report/scores/source", "report/scores/value"]
    later = tables([("x9", "oracle", 0.25, 8.0), ("b1", "pixels", 0.5, 9.0)])
    assert compare(before, later).different == ["identities/report/scores/run_id"]
    rounded = tables([*rows[:1], ("a2", "oracle", 0.25 + 2**-54, 4.0)])
    assert compare(before, rounded).different == ["report/scores/value"]


def test_it_imports_nothing_that_it_checks() -> None:
    stages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {"data", "cache", "probe"} <= stages
    for path in (ROOT / "benchmarks" / "values").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & stages, path
