"""Commands of runs and of their features, as the report prints them."""

from __future__ import annotations

from typing import Any

from configs.identity import digest
from configs.loader import parse_overrides
from configs.options import as_typed
from fusion.recipe import Choices, make_recipe
from fusion.record import ViewRecord, save_record
from probe.config import read_run
from probe.report.build import build
from probe.report.runs.collect import collect
from probe.report.runs.commands import train_command
from tests.probe.report.rows import FLAT


def test_the_command_of_a_run_resolves_to_its_configuration(study: Any) -> None:
    def config(task: str, **changes: Any) -> dict[str, Any]:
        from configs.identity import plain

        words = {"task": task, "profile": "smoke", **changes}
        found: dict[str, Any] = plain(as_typed(read_run({k: str(v) for k, v in words.items()})))
        return found

    changed = config(
        "instance", **{"recipe.lr": 0.5, "trunk.dropout": 0.25, "split_scheme": "standard", "sampler": "paper"}
    )
    changed["recipe"]["seed"] = 7
    study.per_clip("instance", "pixels", {"t_miou": FLAT}, seed=7, depth=3, extra={"config": changed})
    run = collect(str(study.root)).runs[0]
    words = parse_overrides(train_command(run.result).split()[3:])
    assert words["seeds"] == "7" and words["depths"] == "3" and words["layers"] == run.array
    assert {key: words[key] for key in words if "." in key} == {"recipe.lr": "0.5", "trunk.dropout": "0.25"}
    assert read_run(words).probe.recipe.lr == 0.5


def test_the_command_of_features_names_their_noise_level_in_full_and_their_grid(study: Any) -> None:
    level = 0.5023265744284328
    study.per_clip("instance", "wan-t2v-1.3b-tiny-random", {"t_miou": FLAT}, tap="dit", block=4, noise=level)
    command = build(str(study.root)).table("runs").extract_command[0]
    model = "spatialprobe extract run model=wan-t2v-1.3b dataset=toy weights=random size=tiny"
    assert command == f"{model} layers=4 noise={level!r} grid=2x2"


def test_the_command_of_a_fusion_has_the_options_of_its_record(study: Any) -> None:
    fingerprint: dict[str, Any] = {"parents": [], "fusion": {}}
    study.per_clip("instance", "oracle+position", {"t_miou": FLAT}, store=fingerprint, tap="fused")
    command = build(str(study.root)).table("runs").extract_command[0]
    assert command == "spatialprobe fusion fuse model=oracle+position dataset=toy"
    print_ = digest(fingerprint)
    choices = Choices(grid="4x4", layers=["5", "all"])
    record = ViewRecord("oracle+position", "toy", ("", ""), make_recipe("lnconcat"), choices, (), fingerprint, print_)
    save_record(str(study.root), record)
    assert build(str(study.root)).table("runs").extract_command[0] == f"{command} layers=5,all grid=4x4"


def test_imported_probes_are_kept_apart_and_name_their_checkpoint(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": FLAT})
    study.per_clip("instance", "position", {"t_miou": FLAT}, extra={"imported": {"file": "probe.ckpt", "sha256": "f"}})
    data = build(str(study.root))
    assert len(data.table("settings")) == 2 and "imported" in data.table("settings").differs.iloc[1]
    command = data.table("runs").set_index("source").command["position"]
    assert command.startswith("spatialprobe probe import ") and command.endswith("checkpoint=probe.ckpt")
