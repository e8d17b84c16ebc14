"""The model that docs/add-a-model.md builds: as a plug-in, it runs and passes the built-in tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs.loader import read_yaml

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "add-a-model.md").read_text(encoding="utf-8")
FILES = {
    "configs/model/dinov2-base.yaml": "yaml",
    "extract/encoders/dinov2/adapter.py": "python",
    "extract/encoders/dinov2/tiny.py": "python",
}
TESTS_OF_ALL_MODELS = (
    "tests/extract/test_adapter_contract.py",
    "tests/extract/test_commands.py",
    "tests/extract/video/test_resize.py",
    "tests/extract/vlm/test_models.py",
    "tests/spatialprobe/test_completion.py",
)


def block(language: str, heading: str) -> str:
    """Return the first code block below a heading that has the name of the file that it goes to."""
    found = re.search(
        rf"^## \d\. [^\n]*{re.escape(heading)}.*?```{language}\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE
    )
    assert found
    return found[1]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page describes, beside an unchanged project."""
    folder = tmp_path_factory.mktemp("plugin") / "mine"
    listed = re.search(r"^```\nmine/\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert listed and listed[1].split() == list(FILES)
    for path, language in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(block(language, path), encoding="utf-8")
    return folder


def python(plugin: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "SPATIALPROBE_PLUGINS": str(plugin)}
    return subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def test_it_passes_the_built_in_tests(plugin: Path) -> None:
    """The contract by the documented command, and whatever else looks at all models or all of a kind."""
    (documented,) = re.findall(r"^python (-m pytest --full \S+ -k dinov2-base)$", DOCUMENT, re.MULTILINE)
    done = python(plugin, *documented.split())
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-4000:]
    done = python(
        plugin,
        "-m",
        "pytest",
        *TESTS_OF_ALL_MODELS,
        "-k",
        "every_model or every_vision or paper or published_ones or test_values",
    )
    assert done.returncode == 0 and int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 4, done.stdout[-4000:]


def test_every_test_that_looks_at_all_models_is_among_them() -> None:
    looking = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if re.search(r"(?<!names\.)model_names\(\)", path.read_text(encoding="utf-8"))
        and path.name != Path(__file__).name
    }
    assert looking == set(TESTS_OF_ALL_MODELS)


def test_it_is_listed_and_runs(plugin: Path, toy_dataset: Path, tmp_path: Path) -> None:
    done = python(plugin, "-m", "extract", "models", "kind=encoder")
    assert done.returncode == 0 and "dinov2-base" in done.stdout, done.stderr
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "toy").symlink_to(toy_dataset)
    words = re.findall(r"^spatialprobe extract run +(.* weights=random size=tiny)$", DOCUMENT, re.MULTILINE)
    options = words[0].replace("dataset=rooms", "dataset=toy").split()
    done = python(plugin, "-m", "extract", "run", *options, "limit=2", f"root={tmp_path}")
    assert done.returncode == 0, done.stderr
    (store,) = (tmp_path / "features" / "toy" / "dinov2-base-tiny-random").iterdir()
    assert (store / "store.json").is_file()


def test_it_is_short_and_its_yaml_agrees_with_its_code(plugin: Path) -> None:
    source = block("python", "extract/encoders/dinov2/adapter.py")
    assert len(source.splitlines()) <= 150
    values = read_yaml(plugin / "configs" / "model" / "dinov2-base.yaml")
    code = (
        "from extract.families import build_adapter; from extract.adapter import Variant\n"
        "from extract.model import load_model\n"
        "print(build_adapter(load_model('dinov2-base'), Variant(weights='random')).spec.taps['vit'].grid)"
    )
    done = python(plugin, "-c", code)
    assert done.stdout.strip() == str(tuple(values["grid"])), done.stderr
