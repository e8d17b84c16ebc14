"""An extraction that has nothing left to do says so without loading what computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from configs.machine import visible_devices, without_gpu
from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource
from tests.docs.pages import run_verb
from tests.skips import MAYBE_CUDA

needs_no_gpu = pytest.mark.skipif(not without_gpu(), reason=MAYBE_CUDA)


@needs_no_gpu
def test_without_a_driver_there_is_only_the_cpu() -> None:
    assert visible_devices("auto") == ["cpu"] == visible_devices("cpu")


@needs_no_gpu
def test_finished_extraction_needs_no_torch(tmp_path: Path) -> None:
    prepare(ToySource({"a": Shape(), "b": Shape()}), tmp_path / "datasets" / "toy", plans=("paper-2",), workers=1)
    words = ["run", "model=position,pixels", "dataset=toy", f"root={tmp_path}"]
    assert run_verb("extract", *words) == 0
    light = "import sys; sys.modules |= dict.fromkeys(['torch', 'transformers', 'diffusers'])"
    code = f"{light}; from configs.cli import main; from extract.__main__ import VERBS; "
    code += f"sys.exit(main('extract', '', VERBS, {words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("0 clips to do, 2 complete") == 2
