"""The control table of a pair."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from cache import FeatureStore
from configs import commands
from configs.cli import main
from fusion.__main__ import VERBS
from fusion.fuse import describe
from fusion.opening import open_source
from fusion.record import find_views
from fusion.views.view import FusedView
from tests.fusion.lab import Lab, spec_of


def run(*words: str) -> int:
    return main("fusion", "", VERBS, list(words))


def test_fuse_records_a_view_that_the_name_opens(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("fuse", "models=vgm vlm", "dataset=toy", f"root={lab.root}", "dtype=float32") == 0
    printed = capsys.readouterr().out
    assert "vgm+vlm on toy: lazy view" in printed and "model=vgm+vlm" in printed
    opened = open_source(lab.root, "toy", "vgm+vlm")
    assert isinstance(opened, FusedView) and next(iter(opened.arrays.values())).dtype == "float32"
    assert run("inspect", "models=vgm+vlm", "dataset=toy", f"root={lab.root}") == 0
    assert run("verify", "models=vgm+vlm", "dataset=toy", f"root={lab.root}") == 0


def test_the_commands_for_stores_refer_to_those_for_views(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A view has no store of its own, so `cache ls` lists its parents only and `cache inspect` names what to run."""
    from cache.__main__ import VERBS as CACHE_VERBS

    def cache(*words: str) -> tuple[int, str]:
        code = main("cache", "", CACHE_VERBS, [*words, f"root={lab.root}"])
        return code, "".join(capsys.readouterr())

    lab.pair()
    assert run("fuse", "models=vgm vlm", "dataset=toy", f"root={lab.root}") == 0
    code, printed = cache("ls")
    assert code == 0 and "2 feature stores" in printed and "vgm+vlm" not in printed.partition("2 feature stores")[2]
    for verb in ("inspect", "verify"):
        code, printed = cache(verb, "source=vgm+vlm", "dataset=toy")
        assert code == 1 and "no feature store for dataset=toy, source=vgm+vlm" in printed
        assert commands.fusion("inspect", models="vgm+vlm", dataset="toy", root=lab.root) in printed


def test_views_are_listed_inspected_and_verified(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    def fusion(*words: str) -> tuple[int, str]:
        code = run(*words, f"root={lab.root}")
        return code, "".join(capsys.readouterr())

    one, two = lab.pair()
    for variant in ("lnconcat", "l2"):
        assert fusion("fuse", "models=vgm vlm", "dataset=toy", f"variant={variant}")[0] == 0
    view = open_source(lab.root, "toy", "vgm+vlm")
    (name,) = view.arrays
    code, printed = fusion("ls")
    assert code == 0 and "2 fused views" in printed and view.fingerprint_digest[:12] in printed
    assert printed.count(f"vgm/{Path(one.where).name}, vlm/{Path(two.where).name}") == 2
    code, printed = fusion("ls", "models=vgm vlm", "dataset=toy")
    assert code == 0 and "1 fused views" in printed and "@l2" not in printed
    assert "0 fused views" in fusion("ls", "dataset=other")[1]
    code, printed = fusion("inspect", "models=vgm+vlm", "dataset=toy", f"histogram={name}")
    assert code == 0 and "lazy view" in printed and "###" in printed
    code, printed = fusion("verify", "models=vgm+vlm", "dataset=toy")
    assert code == 0 and printed.count("every byte as written") == 2
    shard = next(Path(one.where).rglob("c.1.0.0.0.0"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    code, printed = fusion("verify", "models=vgm+vlm", "dataset=toy")
    assert code == 1 and "1 problems" in printed
    shutil.rmtree(one.where)
    code, printed = fusion("ls")
    assert code == 0 and printed.count("(gone)") == 2 and f"vlm/{Path(two.where).name} (gone)" not in printed
    next(find_views(lab.root, "toy", "vgm+vlm@l2")[0].parent.glob("*.json")).write_text("{")
    code, printed = fusion("ls")
    assert code == 1 and "broken" in printed and "(gone)" in printed


def test_fuse_materialises(lab: Lab) -> None:
    lab.pair()
    assert run("fuse", "models=vgm,vlm", "dataset=toy", "variant=zscore", "materialise=true", f"root={lab.root}") == 0
    opened = open_source(lab.root, "toy", "vgm+vlm@zscore")
    assert isinstance(opened, FeatureStore) and opened.missing() == []
    describe(opened)


def test_the_table_has_every_control_and_says_what_is_lacking(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.store("wan-t2v-1.3b", spec_of("dit", channels=12))
    lab.store("qwen3-vl-2b", spec_of("llm", block=22, channels=8))
    lab.store("qwen3-vl-2b-random", spec_of("llm", block=22, channels=8, untrained=True), seed=1)
    lab.store("internvl3-1b", spec_of("llm", block=20, channels=8))
    lab.store("position", spec_of("position", block=None, channels=3))
    words = ["models=wan-t2v-1.3b qwen3-vl-2b", "dataset=toy", f"root={lab.root}", "probe=profile=smoke seeds=0,1"]
    assert run("controls", *words) == 0
    printed = capsys.readouterr().out
    script = (lab.root / "features" / "toy" / "wan-t2v-1.3b+qwen3-vl-2b" / "controls.sh").read_text(encoding="utf-8")
    ready = [
        "wan-t2v-1.3b", "qwen3-vl-2b", "wan-t2v-1.3b+qwen3-vl-2b", "wan-t2v-1.3b+qwen3-vl-2b@concat",
        "wan-t2v-1.3b+qwen3-vl-2b@pca4", "wan-t2v-1.3b+qwen3-vl-2b@sum4", "wan-t2v-1.3b+qwen3-vl-2b@gated",
        "wan-t2v-1.3b+noise~8", "noise~12+qwen3-vl-2b", "wan-t2v-1.3b+position~8", "position~12+qwen3-vl-2b",
        "wan-t2v-1.3b+qwen3-vl-2b-random", "qwen3-vl-2b+internvl3-1b", "wan-t2v-1.3b@random20", "qwen3-vl-2b@pca4",
    ]  # fmt: skip
    probes = [shlex.split(line) for line in script.splitlines() if line.startswith("python")]
    for name in ready:
        assert sum(f"model={name}" in words for words in probes) == 2, name
    assert script.count("task=instance") == script.count("task=geometry") >= len(ready)
    assert "profile=smoke seeds=0,1" in script and "internvl3-1b+" not in script
    assert not any("model=wan-t2v-1.3b-random+qwen3-vl-2b" in words for words in probes)
    assert "no second VGM" in printed
    twin = commands.extract("run", model="wan-t2v-1.3b", dataset="toy", weights="random", root=str(lab.root))
    assert twin in printed
    for name in ready:
        source = open_source(lab.root, "toy", name)
        (array,) = source.arrays.values()
        assert f"layers={array.name} " in script
    widths = {name: next(iter(open_source(lab.root, "toy", name).arrays.values())).channels for name in ready}
    assert {widths[name] for name in ready[2:4] + ready[7:12] + ready[13:14]} == {20}
    assert widths["qwen3-vl-2b@pca4"] == 4 and widths["wan-t2v-1.3b+qwen3-vl-2b@pca4"] == 8


def test_sources_without_an_untrained_twin_get_no_row_for_it(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that would make the twin made the source itself, and the table never got complete."""
    lab.store("oracle-depth-rays", spec_of("oracle", block=None, channels=12))
    lab.store("qwen3-vl-2b-tiny-random", spec_of("llm", block=5, channels=8, untrained=True))
    lab.store("position", spec_of("position", block=None, channels=3))
    words = ["models=oracle-depth-rays qwen3-vl-2b-tiny-random", "dataset=toy", f"root={lab.root}"]
    assert run("controls", *words) == 0
    printed = capsys.readouterr().out
    assert "same width, noise for oracle-depth-rays" in printed
    assert "untrained" not in printed and "weights=random" not in printed


def test_unknown_variants_are_refused_before_anything_is_made(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("controls", "models=vgm vlm", "dataset=toy", f"root={lab.root}", "variants=l2,zscor") == 2
    assert "did you mean zscore" in capsys.readouterr().err
    assert not (lab.root / "features" / "toy" / "vgm+vlm").exists()


def test_one_model_alone_is_no_fusion(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name opens the store itself, so that a probe would have read raw features."""
    lab.pair()
    assert run("fuse", "models=vgm", "dataset=toy", f"root={lab.root}") == 2
    assert "models=vgm@zscore" in capsys.readouterr().err
    assert run("fuse", "models=vgm", "dataset=toy", f"root={lab.root}", "variant=zscore") == 0


def test_more_stores_than_models(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("fuse", "models=vgm vlm", "dataset=toy", f"root={lab.root}", "stores=a,b,c") == 2
    assert "one entry per model" in capsys.readouterr().err


def test_run_reports_failed_probes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fusion.controls import run_all

    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run_all([["-m", "probe"]]) == 1
    assert "failed: python -m probe" in capsys.readouterr().err
    monkeypatch.setattr(sys, "executable", "/bin/true")
    assert run_all([["-m", "probe"]]) == 0


def test_a_table_needs_a_pair(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("controls", "models=vgm", "dataset=toy", f"root={lab.root}") == 2
    assert "made for a pair" in capsys.readouterr().err
