"""What the commands of fusion do and print."""

from __future__ import annotations

import shutil
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
from tests.fusion.lab import Lab


def run(*words: str) -> int:
    return main("fusion", "", VERBS, list(words))


def test_fuse_records_a_view_that_the_name_opens(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("fuse", "model=vgm vlm", "dataset=toy", f"root={lab.root}", "dtype=float32") == 0
    printed = capsys.readouterr().out
    assert "vgm+vlm on toy: lazy view" in printed and "model=vgm+vlm" in printed
    opened = open_source(lab.root, "toy", "vgm+vlm")
    assert isinstance(opened, FusedView) and next(iter(opened.arrays.values())).dtype == "float32"
    assert run("inspect", "model=vgm+vlm", "dataset=toy", f"root={lab.root}") == 0
    assert run("verify", "model=vgm+vlm", "dataset=toy", f"root={lab.root}") == 0


def test_the_commands_for_stores_refer_to_those_for_views(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A view has no store of its own, so `cache ls` lists its parents only and `cache inspect` names what to run."""
    from cache.__main__ import VERBS as CACHE_VERBS

    def cache(*words: str) -> tuple[int, str]:
        code = main("cache", "", CACHE_VERBS, [*words, f"root={lab.root}"])
        return code, "".join(capsys.readouterr())

    lab.pair()
    assert run("fuse", "model=vgm vlm", "dataset=toy", f"root={lab.root}") == 0
    code, printed = cache("ls")
    assert code == 0 and "2 feature stores" in printed and "vgm+vlm" not in printed.partition("2 feature stores")[2]
    for verb in ("inspect", "verify"):
        code, printed = cache(verb, "model=vgm+vlm", "dataset=toy")
        assert code == 1 and "no feature store for dataset=toy, model=vgm+vlm" in printed
        assert commands.fusion("inspect", model="vgm+vlm", dataset="toy", root=lab.root) in printed


def test_views_are_listed_inspected_and_verified(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    def fusion(*words: str) -> tuple[int, str]:
        code = run(*words, f"root={lab.root}")
        return code, "".join(capsys.readouterr())

    one, two = lab.pair()
    for variant in ("lnconcat", "l2"):
        assert fusion("fuse", "model=vgm vlm", "dataset=toy", f"variant={variant}")[0] == 0
    view = open_source(lab.root, "toy", "vgm+vlm")
    (name,) = view.arrays
    code, printed = fusion("ls")
    assert code == 0 and "2 fused views" in printed and view.fingerprint_digest[:12] in printed
    assert printed.count(f"vgm/{Path(one.where).name}, vlm/{Path(two.where).name}") == 2
    code, printed = fusion("ls", "model=vgm vlm", "dataset=toy")
    assert code == 0 and "1 fused views" in printed and "@l2" not in printed
    assert "0 fused views" in fusion("ls", "dataset=other")[1]
    code, printed = fusion("inspect", "model=vgm+vlm", "dataset=toy", f"histogram={name}")
    assert code == 0 and "lazy view" in printed and "###" in printed
    code, printed = fusion("verify", "model=vgm+vlm", "dataset=toy")
    assert code == 0 and printed.count("every byte as written") == 2
    shard = next(Path(one.where).rglob("c.1.0.0.0.0"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    code, printed = fusion("verify", "model=vgm+vlm", "dataset=toy")
    assert code == 1 and "1 problems" in printed
    shutil.rmtree(one.where)
    code, printed = fusion("ls")
    assert code == 0 and printed.count("(gone)") == 2 and f"vlm/{Path(two.where).name} (gone)" not in printed
    next(find_views(lab.root, "toy", "vgm+vlm@l2")[0].parent.glob("*.json")).write_text("{")
    code, printed = fusion("ls")
    assert code == 1 and "broken" in printed and "(gone)" in printed


def test_fuse_materialises(lab: Lab) -> None:
    lab.pair()
    assert run("fuse", "model=vgm,vlm", "dataset=toy", "variant=zscore", "materialise=true", f"root={lab.root}") == 0
    opened = open_source(lab.root, "toy", "vgm+vlm@zscore")
    assert isinstance(opened, FeatureStore) and opened.missing() == []
    describe(opened)


def test_one_model_alone_is_no_fusion(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name opens the store itself, so that a probe would have read raw features."""
    lab.pair()
    assert run("fuse", "model=vgm", "dataset=toy", f"root={lab.root}") == 2
    assert "model=vgm@zscore" in capsys.readouterr().err
    assert run("fuse", "model=vgm", "dataset=toy", f"root={lab.root}", "variant=zscore") == 0


def test_more_stores_than_models(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("fuse", "model=vgm vlm", "dataset=toy", f"root={lab.root}", "stores=a,b,c") == 2
    assert "one entry per model" in capsys.readouterr().err
